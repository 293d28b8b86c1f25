"""How the demo takes being told to end, and other programs on the machine."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

import pytest

from fledx.demo import run
from fledx.demo.processes import free_port
from fledx.demo.run import System, ended_by_signals
from fledx.sample.image import Engine


def test_a_second_interrupt_does_not_cut_the_cleaning_short_and_a_third_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with ended_by_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert "still removing what it made; once more ends it as it is\n" == capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert before is signal.getsignal(signal.SIGINT)


@pytest.mark.parametrize("wanted", [8080, 7443])
def test_a_port_that_somebody_takes_while_the_demo_starts_is_left_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        taken = quicker.getsockname()[1]
        asked: list[int] = []

        def free_at_first(preferred: int) -> int:
            asked.append(preferred)
            return taken if preferred == wanted and asked.count(wanted) == 1 else free_port(0)

        monkeypatch.setattr(run, "free_port", free_at_first)
        system = System(tmp_path, Engine.at(None))
        try:
            system.start_where_free()
            with contextlib.closing(system.api()) as api:
                assert "ok" == api.health()["status"]
        finally:
            system.control_plane.stop()
    assert [8080, 7443, 8080, 7443] == asked
    assert str(system.port) in system.url
