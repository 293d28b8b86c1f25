"""Operators at the tunnel port: who may what, where it leads, and what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from fledx.control_plane import operators
from fledx.control_plane.trust.operator_tokens import NewToken
from fledx.control_plane.trust.refusals import OPERATOR_REFUSALS
from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, LimitExceeded, NotFound, Unavailable
from fledx.models.port import PortMapping
from fledx.tunnel.greeting import Hello
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.builders import facts
from tests.unit.control_plane.conftest import ME, Stage
from tests.unit.control_plane.entered import Port, nothing, tunnel_port
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def port(stage: Stage) -> AsyncIterator[Port]:
    async with tunnel_port(stage) as made:
        yield made


async def said_back(stream: Stream, data: bytes) -> bytes:
    """What comes back of it, to the end."""
    await stream.send_all(data)
    await stream.send_eof()
    got = b""
    with anyio.fail_after(60):
        while piece := await stream.receive():
            got += piece
    return got


async def exec_in(link: Link, ref: str = "web", command: tuple[str, ...] = ("sh",), **more: Any) -> Stream:
    return await link.open("exec", {"deployment": ref, "command": list(command), **more})


async def test_a_command_goes_to_the_replicas_node_and_its_opening_and_end_are_written_down(port: Port) -> None:
    await port.node("edge-1")
    deployment_id = await port.deploy()
    link = await port.operator()

    stream = await exec_in(link, command=("sh", "-c", "id"), tty=True, env={"PIN": "1234"}, request_id="r-1")

    assert stream.answer == {"deployment": "web", "replica": 0, "node": "edge-1", "request_id": "r-1"}
    (name, kind, meta) = port.opened[-1]
    assert (name, kind, meta["deployment_id"], meta["replica_number"]) == ("edge-1", "exec", deployment_id, 0)
    assert (meta["command"], meta["tty"], meta["env"]) == (["sh", "-c", "id"], True, {"PIN": "1234"})
    (opening,) = await port.audited("deployment.exec")
    assert (opening["operator"], opening["source"], opening["request_id"]) == ("admin", "127.0.0.1", "r-1")
    assert (opening["resource_name"], opening["resource_id"], opening["status"]) == ("web", deployment_id, "success")
    asked = {"replica": 0, "node": "edge-1", "command": ["sh", "-c", "id"], "tty": True, "variables": ["PIN"]}
    assert opening["after"] == asked
    assert b"hello" == await said_back(stream, b"hello")
    (ending,) = await port.until_audited("deployment.exec_end")
    assert (ending["status"], ending["request_id"]) == ("success", "r-1")
    assert (ending["after"]["bytes_in"], ending["after"]["bytes_out"]) == (5, 5)
    assert "1234" not in str(await port.audited("deployment"))


async def test_connections_go_to_the_replicas_port_and_a_forward_is_two_lines_however_many_there_are(
    port: Port,
) -> None:
    await port.node("edge-1")
    await port.deploy()
    link = await port.operator()

    async def connect() -> None:
        stream = await link.open("forward", {"deployment": "web", "port": 80})
        assert b"abc" == await said_back(stream, b"abc")

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(connect)

    assert {("edge-1", "connect", 80)} == {(name, kind, meta["port"]) for name, kind, meta in port.opened}
    (opening,) = await port.audited("deployment.forward")
    assert opening["after"] == {"replica": 0, "node": "edge-1", "port": 80}
    link.close("done")
    (ending,) = await port.until_audited("deployment.forward_end")
    assert (ending["after"]["connections"], ending["after"]["bytes_in"], ending["after"]["bytes_out"]) == (20, 60, 60)


async def test_a_look_connects_to_nothing_and_tells_which_replica_it_would_be(port: Port) -> None:
    await port.node("edge-1")
    await port.deploy()
    link = await port.operator()

    stream = await link.open("forward", {"deployment": "web", "port": 80, "look": True})

    assert (stream.answer["replica"], stream.answer["node"]) == (0, "edge-1")
    assert await stream.receive() == b""
    assert port.opened == []


async def test_a_replica_that_is_ready_is_chosen_unless_one_is_named(port: Port, stage: Stage) -> None:
    await port.node("edge-1")
    await port.node("edge-2")
    await port.deploy(replicas=2, ports=(PortMapping(container_port=80),))
    link = await port.operator()
    node_of = {}
    for replica in (0, 1):
        stream = await exec_in(link, replica=replica)
        node_of[replica] = stream.answer["node"]
    assert {"edge-1", "edge-2"} == set(node_of.values())

    away, _ = port.tokens[node_of[0]]
    await stage.report(away)

    assert (await exec_in(link)).answer["replica"] == 1
    with pytest.raises(Unavailable, match=f"replica 0 of web on {node_of[0]}: its node has not told of it yet"):
        await exec_in(link, replica=0)


async def test_the_next_replica_is_tried_when_one_does_not_answer(port: Port) -> None:
    async def refuse(stream: Stream) -> None:
        raise Unavailable("port 80 of container x does not answer: connection refused")

    await port.node("edge-1", refuse)
    await port.node("edge-2")
    await port.deploy(replicas=2, ports=(PortMapping(container_port=80),))
    link = await port.operator()

    for _ in range(3):
        stream = await link.open("forward", {"deployment": "web", "port": 80})
        assert stream.answer["node"] == "edge-2"
        assert b"x" == await said_back(stream, b"x")


async def test_what_is_not_there_is_said_with_what_is(port: Port, stage: Stage) -> None:
    node = await port.node("edge-1")
    await port.deploy()
    link = await port.operator()
    for ref, replica, error, said in (
        ("wbe", None, NotFound, "no deployment 'wbe'"),
        ("web", 7, NotFound, "web has no replica 7"),
        ("", None, InvalidSpec, "deployment"),
        ("web", -1, InvalidSpec, "is not the number of a replica"),
    ):
        with pytest.raises(error, match=said):
            await exec_in(link, ref, replica=replica)
    node.close("gone")
    await until(lambda: len(port.dispatch) == 0)
    with pytest.raises(Unavailable, match="no replica of web runs: replica 0 of web on edge-1: the node is not conn"):
        await exec_in(link)
    failures = await port.until_audited("deployment.exec", 5)
    assert {"failure"} == {each["status"] for each in failures}
    assert "the node is not connected" in failures[0]["payload"]


async def test_a_refusal_of_the_node_comes_out_as_it_was_said_and_is_written_down(port: Port) -> None:
    async def refuse(stream: Stream) -> None:
        raise Conflict("the container is being replaced")

    await port.node("edge-1", refuse)
    await port.deploy()
    with pytest.raises(Conflict, match="is being replaced"):
        await exec_in(await port.operator())
    (ending,) = await port.until_audited("deployment.exec_end")
    assert (ending["status"], ending["payload"]) == ("failure", "the container is being replaced")


@pytest.mark.parametrize("role", ["admin", "operator"])
async def test_admins_and_operators_may_both(port: Port, stage: Stage, role: str) -> None:
    await port.node("edge-1")
    await port.deploy()
    made = await stage.operator_tokens.create(NewToken(name="ann", role=role), by=ME)
    link = await port.operator(made.token)
    await exec_in(link)
    await link.open("forward", {"deployment": "web", "port": 80})
    (line,) = await port.audited("deployment.forward")
    assert (line["operator"], line["operator_role"], line["operator_token_id"]) == ("ann", role, made.token_id)


async def test_who_may_only_read_may_neither_and_that_is_written_down(port: Port, stage: Stage) -> None:
    await port.node("edge-1")
    await port.deploy()
    made = await stage.operator_tokens.create(NewToken(name="eve", role="read_only"), by=ME)
    link = await port.operator(made.token)
    for kind, meta in (
        ("exec", {"command": ["sh"]}),
        ("forward", {"port": 80}),
        ("forward", {"port": 80, "look": True}),
    ):
        with pytest.raises(Denied, match=f"eve may only read; {kind} needs more"):
            await link.open(kind, {"deployment": "web", **meta})
    lines = await port.audited("authz")
    assert [("eve", "failure", "web")] * 3 == [
        (each["operator"], each["status"], each["resource_name"]) for each in lines
    ]
    assert port.opened == []


async def test_fault_21_no_other_token_makes_an_operator_and_the_attempt_is_written_down(port: Port) -> None:
    await port.node("edge-1")
    _, node_token = port.tokens["edge-1"]
    for token in ("", "wrong", node_token, "secret ", "SECRET"):
        with pytest.raises(Denied) as refused:
            await port.operator(token)
        assert not token or token not in str(refused.value)
    lines = await port.audited("auth")
    assert 5 == len(lines)
    assert all((each["operator"], each["source"]) == ("unknown", "127.0.0.1") for each in lines)
    assert "secret" not in str(lines).replace("its reason holds a secret", "")


async def test_fault_21_an_operators_token_makes_no_node(port: Port) -> None:
    await port.node("edge-1")
    node_id, _ = port.tokens["edge-1"]
    with pytest.raises(Denied):
        await port.dial(Hello(role="agent", node_id=node_id, token="secret"), nothing)


async def test_fault_21_guessing_is_told_to_wait_and_a_right_token_still_passes(port: Port) -> None:
    for _ in range(OPERATOR_REFUSALS):
        with pytest.raises(Denied):
            await port.operator("wrong")
    with pytest.raises(LimitExceeded, match="too many refused tokens from here; try again in"):
        await port.operator("wrong")
    assert (await port.operator()).reason is None


async def test_fault_23_a_node_opens_no_operators_stream(port: Port) -> None:
    node = await port.node("edge-1")
    await port.node("edge-2")
    await port.deploy(replicas=2)
    for kind in ("exec", "forward", "connect", "logs", "desired"):
        with pytest.raises(Denied, match=f"an agent opens no stream of kind '{kind}' here"):
            await node.open(kind, {"deployment": "web", "command": ["sh"], "port": 80, "replica": 0})
    assert port.opened == []
    lines = await port.audited("tunnel.stream")
    assert [("node edge-1", "failure")] * 5 == [(each["operator"], each["status"]) for each in lines]


async def test_fault_23_an_operator_opens_no_stream_that_is_the_control_planes(port: Port) -> None:
    await port.node("edge-1")
    deployment_id = await port.deploy()
    link = await port.operator()
    for kind in ("connect", "logs", "desired", "backend", "x" * 40):
        with pytest.raises(InvalidSpec, match="operators open no stream of kind"):
            await link.open(kind, {"deployment_id": deployment_id, "replica_number": 0, "port": 80})
    assert port.opened == []


async def test_a_revoked_token_ends_its_session_at_once_with_all_that_is_open(port: Port, stage: Stage) -> None:
    await port.node("edge-1")
    await port.deploy()
    made = await stage.operator_tokens.create(NewToken(name="ann"), by=ME)
    link, other = await port.operator(made.token), await port.operator()
    stream, kept = await exec_in(link), await exec_in(other)

    await stage.operator_tokens.revoke("ann", by=ME)

    with anyio.fail_after(operators.CHECK_SECONDS * 0.9):
        assert "was revoked" in await link.closed()
    with pytest.raises(Unavailable, match="was revoked"):
        await stream.receive()
    (ending,) = await port.until_audited("deployment.exec_end")
    assert ending["operator"] == "ann"
    assert b"y" == await said_back(kept, b"y")


async def test_a_token_that_expires_opens_nothing_more(port: Port, stage: Stage) -> None:
    await port.node("edge-1")
    await port.deploy()
    made = await stage.operator_tokens.create(NewToken(name="ann", ttl_seconds=60), by=ME)
    link = await port.operator(made.token)
    await exec_in(link)
    stage.now += 61
    with pytest.raises(FledxError, match="expired"):
        await exec_in(link)
    assert "expired" in (await port.until_audited("auth"))[0]["payload"]


async def test_what_cannot_be_written_down_is_not_opened(port: Port, stage: Stage) -> None:
    await port.node("edge-1")
    await port.deploy()
    link = await port.operator()
    await stage.act(
        lambda tx: tx.sql.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
    )
    for kind, meta in (("exec", {"command": ["sh"]}), ("forward", {"port": 80})):
        with pytest.raises(FledxError):
            await link.open(kind, {"deployment": "web", **meta})
    assert port.opened == []


async def test_nobody_hears_of_facts_a_hello_of_an_operator_brings(port: Port) -> None:
    """They mean nothing: an operator is not a node, whatever it says."""
    link = await port.dial(Hello(role="operator", token="secret", node_id="x", facts={"name": facts().name}), nothing)
    assert link.reason is None
    assert len(port.dispatch) == 0
