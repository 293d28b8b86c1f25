"""Which addresses this node has connections to, by what the kernel shows of them."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from pathlib import Path

ESTABLISHED = "01"  # TCP_ESTABLISHED in include/net/tcp_states.h
WORD = 4


def connected(tables: Path = Path("/proc/net")) -> set[tuple[str, int]]:
    """Host and port at the other end of every TCP connection of this network namespace (proc_net_tcp(5))."""
    found: set[tuple[str, int]] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError, ValueError):
            for line in (tables / name).read_text("ascii", "replace").splitlines()[1:]:
                fields = line.split()
                if len(fields) > 3 and fields[3] == ESTABLISHED:
                    host, _, port = fields[2].partition(":")
                    found.add((_address(host), int(port, 16)))
    return found


def _address(digits: str) -> str:
    """The kernel prints words of 32 bits as its machine has them; IPv4 within IPv6 is IPv4."""
    raw = bytes.fromhex(digits)
    words = [raw[i : i + WORD] for i in range(0, len(raw), WORD)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(packed)
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(inner or address)
