"""A child process that ends with its parent, however that ends."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)
"""Loaded ahead: between fork and exec there is no loading."""


def end_with_parent() -> None:
    """Have SIGTERM sent to this process when the thread that forked it ends (prctl(2)); exec keeps that."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
