"""How the demo takes being told to end."""

from __future__ import annotations

import signal

import pytest

from fledx.demo.run import ended_by_signals


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
