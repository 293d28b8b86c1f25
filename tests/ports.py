"""Ports for what tests start."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

BESIDE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
"""Which of the test processes on this machine this is."""

PORTS = (12000 + 1000 * BESIDE + number % 1000 for number in itertools.count(os.getpid() * 37))


def free_port() -> int:
    """
    A TCP port that nobody has now, and that nobody is given by chance while its user starts or is away.

    Below 32768, from where on the kernel hands ports out to whoever dials or asks for any; each test process has its
    own, and none comes again before all others have come.
    """
    for port in PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return port
    raise AssertionError("they have no end")
