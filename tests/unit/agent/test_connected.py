"""Connections of this node, as the kernel's tables have them."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from fledx.agent.ingress.connected import connected

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 010011AC:A1B2 020011AC:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 010011AC:A1B3 030011AC:1F90 06 00000000:00000000 00:00000000 00000000     0        0 3 1
"""
SIX = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:A1B2 B80D0120000000000000000007000000:0050 01
   1: 0000000000000000FFFF00000100007F:A1B3 0000000000000000FFFF0000040011AC:0051 01
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the tables are those of a little-endian machine")
def test_only_the_other_ends_of_open_connections_are_found(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(TABLE)
    (tmp_path / "tcp6").write_text(SIX)
    assert {("172.17.0.2", 8080), ("2001:db8::7", 80), ("172.17.0.4", 81)} == connected(tmp_path)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_real_connection_is_found_while_it_lasts(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        where = server.getsockname()[:2]
        with socket.create_connection(where):
            assert where in connected()
        assert where not in connected()
