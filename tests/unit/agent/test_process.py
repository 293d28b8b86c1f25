"""The agent's own process after its start."""

from __future__ import annotations

import gc

import pytest

from fledx.agent.process import look_after_the_process


@pytest.mark.anyio
async def test_what_starting_up_has_made_is_taken_out_of_later_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    before = gc.get_freeze_count()
    try:
        await look_after_the_process("edge-1", settle_secs=0)
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
