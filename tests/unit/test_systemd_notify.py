"""What systemd hears from a role."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fledx import systemd_notify


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_a_role_says_that_it_is_ready_and_what_it_does(systemd: socket.socket) -> None:
    systemd_notify.ready("connected to cp:7443")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=connected to cp:7443"


def test_a_role_says_that_it_lives_and_that_it_stops(systemd: socket.socket) -> None:
    systemd_notify.alive()
    systemd_notify.stopping()
    assert (systemd.recv(1000), systemd.recv(1000)) == (b"WATCHDOG=1", b"STOPPING=1")


def test_an_abstract_socket_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fledx-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        systemd_notify.alive()
        assert listener.recv(1000) == b"WATCHDOG=1"


def test_nobody_listens_and_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd_notify.alive()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    systemd_notify.alive()


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [("30000000", "", 30.0), ("30000000", "1", None), ("0", "", None), ("", "", None), ("soon", "", None)],
)
def test_the_watchdog_counts_only_for_the_process_it_watches(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    else:
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert systemd_notify.watchdog_secs() == expected
