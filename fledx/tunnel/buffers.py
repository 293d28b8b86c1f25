"""The memory that all wires of a loop share: ten thousand idle ones cost no more of it than one."""

from __future__ import annotations

from fledx.tunnel.tls import MAX_RECORD

KIB = 1024
READ = 192 * KIB
"""Bytes taken from one connection before the others get their turn."""

SEND = 320 * KIB


class Buffers:
    """What the wires of one loop read into and send from; never held over a turn of the loop."""

    __slots__ = ("arrived", "plain", "send")

    def __init__(self) -> None:
        self.arrived = memoryview(bytearray(MAX_RECORD + READ))
        self.plain = memoryview(bytearray(2 * MAX_RECORD + READ))
        self.send = memoryview(bytearray(SEND))
