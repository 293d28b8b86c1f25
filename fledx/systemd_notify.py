"""
Telling systemd how a role fares: ready, alive, stopping. Silent where systemd did not start it.

The protocol is sd_notify(3): one datagram of NAME=VALUE lines to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import os
import socket


def ready(status: str = "") -> None:
    """The role answers now; a unit of Type=notify counts as started, and what waited for it goes on."""
    notify("READY=1", f"STATUS={status}")


def alive() -> None:
    """Put off the watchdog; called from the loop whose hanging it should notice, every `watchdog_secs() / 3`."""
    notify("WATCHDOG=1")


def stopping() -> None:
    """The role is on its way down and will end by itself."""
    notify("STOPPING=1")


def watchdog_secs() -> float | None:
    """After how long a silence systemd ends this process; None where it does not watch."""
    try:
        limit = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
        watched = int(os.environ.get("WATCHDOG_PID", "0"))
    except ValueError:
        return None
    return limit if limit > 0 and watched in (0, os.getpid()) else None


def notify(*lines: str) -> None:
    """Send the lines; a systemd that cannot be reached is no reason to stop working, so errors are dropped."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    # A leading @ stands for the NUL of Linux' abstract names.
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1)
            out.sendto("\n".join(lines).encode(), address)
    except OSError:
        pass
