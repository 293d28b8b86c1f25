"""A node that breaks the tunnel protocol is shut out by name, and the others do not notice (fault 25)."""

from __future__ import annotations

import logging
import socket

import anyio
import anyio.to_thread
import pytest

from fledx.models.codec import encode
from fledx.tunnel import frames, greeting
from fledx.tunnel.greeting import Hello
from tests.builders import facts
from tests.unit.control_plane.conftest import Stage
from tests.unit.control_plane.entered import LIMIT_SECS, tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio


def heard_after(port: int, hello: Hello, said: bytes) -> bytes:
    """Be welcomed, say this, and hear all that comes then."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECS) as sock:
        sock.sendall(greeting.hello_frame(hello))
        heard = sock.recv(frames.HEADER_SIZE, socket.MSG_WAITALL)
        heard += sock.recv(frames.read_header(heard).length, socket.MSG_WAITALL)
        assert frames.read_header(heard).kind == frames.WELCOME
        sock.sendall(said)
        heard = b""
        while more := sock.recv(65536):
            heard += more
    return heard


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\x00" * 100, b"nothing begins with 00 00"),
        (frames.frame(frames.DATA, 7, b"x"), b"stream 7 was never opened"),
        (frames.frame(frames.PING)[:-1] + b"\xff", b"over the limit of 0"),
    ],
    ids=["noise", "wrong order", "over-length"],
)
async def test_fault_25_a_node_that_breaks_the_protocol_is_shut_out_by_name_and_the_others_go_on(
    stage: Stage, caplog: pytest.LogCaptureFixture, said: bytes, reason: bytes
) -> None:
    async with tunnel_port(stage) as port:
        link = await port.node("edge-1")
        made = await stage.nodes.register(facts(name="edge-2"), by="test")
        hello = Hello(role="agent", node_id=made.node_id, token=made.node_token, facts=encode(facts(name="edge-2")))

        heard = await anyio.to_thread.run_sync(heard_after, port.number, hello, said)
        await until(lambda: len(port.dispatch) == 1)

        assert frames.read_header(heard).kind == frames.GOODBYE
        assert reason in heard
        assert link.reason is None
        assert [record.__dict__["node"] for record in caplog.records if record.levelno >= logging.WARNING] == ["edge-2"]
        counted = port.metrics.registry.get_sample_value(
            "fledx_tunnel_disconnections_total", {"reason": "the peer broke the tunnel protocol"}
        )
        assert counted == 1
