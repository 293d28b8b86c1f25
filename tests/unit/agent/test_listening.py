"""Ports of others are told, ours are not, and neither is a client's passing socket."""

from __future__ import annotations

import socket
from pathlib import Path

from fledx.agent.listening import foreign, listening
from tests.ports import free_port

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1
nonsense
"""


def test_only_sockets_that_listen_count(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(TABLE.replace("nonsense\n", ""))

    assert listening(tmp_path) == {("tcp", 8080), ("tcp", 80)}


def test_a_table_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(TABLE)

    assert listening(tmp_path) == {("tcp", 8080), ("tcp", 80)}


def test_a_real_listener_is_found_while_it_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
        port = ("tcp", server.getsockname()[1])
        assert port in listening()

    assert port not in listening()


def test_what_is_ours_and_what_the_kernel_chose_for_a_client_is_not_told() -> None:
    found = {("tcp", 80), ("tcp", 40001), ("udp", 53), ("udp", 40002)}

    assert foreign(found, {("tcp", 80)}) == ("tcp/40001", "udp/53")
