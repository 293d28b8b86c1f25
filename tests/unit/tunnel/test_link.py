"""Links and streams over real sockets, as the roles use them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import pytest

from fledx.errors import Denied, LimitExceeded, NotFound, Unavailable
from fledx.tunnel.frames import MESSAGE, map_frame
from fledx.tunnel.link import Link
from fledx.tunnel.stream import Stream
from tests.unit.tunnel.world import HELLO, Trust, call, failure_of, open_door, read_all, tunnel
from tests.waiting import until

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


class Witness:
    """A handler that notes how it ended."""

    def __init__(self, *, accepting: bool = True) -> None:
        self.accepting = accepting
        self.began = anyio.Event()
        self.ended = ""

    async def wait(self, stream: Stream) -> None:
        """Take the stream and wait for ever, as one that follows a silent log."""
        if self.accepting:
            stream.accept()
        self.began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.ended = "cancelled"
            raise


async def test_each_side_knows_the_other(either: Trust | None) -> None:
    async with tunnel(either) as (agent, control_plane):
        assert control_plane.peer == HELLO
        assert agent.peer.version == ""
        assert control_plane.address.startswith("127.0.0.1:")
        assert agent.address.startswith("localhost:")


async def test_messages_go_both_ways_in_order(either: Trust | None) -> None:
    heard: list[Mapping[str, Any]] = []
    async with open_door(either) as door, anyio.create_task_group() as tasks:
        agent = await call(door, tasks, on_message=heard.append)
        control_plane = await door.link()
        for number in range(50):
            agent.send({"type": "report", "number": number})
            control_plane.send({"type": "desired", "number": number})
        await until(lambda: len(heard) == len(door.messages) == 50)
        tasks.cancel_scope.cancel()

    assert [message["number"] for message in heard] == list(range(50))
    assert [message["number"] for message in door.messages] == list(range(50))


async def test_small_frames_of_one_turn_share_a_record(trust: Trust) -> None:
    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        agent = await call(door, tasks)
        before = agent.bytes_out
        for number in range(50):
            agent.send({"n": number})
        await until(lambda: len(door.messages) == 50)
        overhead = agent.bytes_out - before - sum(len(map_frame(MESSAGE, message)) for message in door.messages)
        tasks.cancel_scope.cancel()

    assert overhead in (22, 44), "one record, or the first frame in one of its own"


async def test_small_frames_that_nobody_answers_arrive_turn_by_turn(trust: Trust) -> None:
    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        agent = await call(door, tasks)
        for number in range(6):
            agent.send({"n": number})
            await until(partial(door.messages.__contains__, {"n": number}))
        tasks.cancel_scope.cancel()

    assert door.messages == [{"n": number} for number in range(6)]


async def test_a_message_that_cannot_be_handled_harms_nobody(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    def stumble(message: Mapping[str, Any]) -> None:
        raise ValueError("no such type")

    async with open_door(trust) as door, anyio.create_task_group() as tasks:
        agent = await call(door, tasks, on_message=stumble)
        (await door.link()).send({"type": "new"})
        await until(lambda: caplog.records)
        assert agent.reason is None
        tasks.cancel_scope.cancel()

    assert [record.message for record in caplog.records] == ["a message could not be handled"]


@pytest.mark.parametrize("opener", [0, 1], ids=["agent opens", "control plane opens"])
async def test_a_stream_carries_bytes_both_ways(either: Trust | None, opener: int) -> None:
    sent = bytes(range(256)) * 20_000
    async with tunnel(either) as links, await links[opener].open("echo", {"x": 1}) as stream:
        got = bytearray()

        async def send() -> None:
            await stream.send_all(sent)
            await stream.send_eof()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            while data := await stream.receive(10_000):
                assert len(data) <= 10_000
                got += data

    assert got == sent


async def test_the_acceptor_sees_what_was_asked_and_answers(trust: Trust) -> None:
    async def exec_(stream: Stream) -> None:
        stream.accept({"pid": 7, "kind": stream.kind, "meta": dict(stream.meta)})

    async with tunnel(trust, agent=exec_) as (_, control_plane):
        stream = await control_plane.open("exec", {"argv": ["ls"], "tty": True})

    assert stream.answer == {"pid": 7, "kind": "exec", "meta": {"argv": ["ls"], "tty": True}}


async def test_an_error_of_the_acceptor_is_raised_at_the_opener(trust: Trust) -> None:
    async def refuse(stream: Stream) -> None:
        raise NotFound(f"there is no {stream.meta['name']} here")

    async with tunnel(trust, agent=refuse) as (_, control_plane):
        problem = await failure_of(control_plane.open("logs", {"name": "web-3"}))

    assert isinstance(problem, NotFound)
    assert problem.text == "there is no web-3 here"


async def test_a_bug_in_a_handler_resets_its_stream_and_nothing_else(
    trust: Trust, caplog: pytest.LogCaptureFixture
) -> None:
    async def stumble(stream: Stream) -> None:
        if stream.kind == "bad":
            raise ZeroDivisionError
        await echo_once(stream)

    async with tunnel(trust, agent=stumble) as (_, control_plane):
        good = await control_plane.open("good", {}, wait=False)
        problem = await failure_of(control_plane.open("bad", {}))
        await good.send_all(b"still here")
        assert await good.receive() == b"still here"

    assert isinstance(problem, Unavailable)
    assert problem.text == "serving the bad stream failed"
    assert [record.message for record in caplog.records] == ["a stream handler failed"]


async def echo_once(stream: Stream) -> None:
    await stream.send_all(await stream.receive())


async def test_what_was_sent_before_an_error_is_still_received(trust: Trust) -> None:
    async def break_off(stream: Stream) -> None:
        await stream.send_all(b"first lines")
        raise Denied("the log is not yours to read to its end")

    async with tunnel(trust, agent=break_off) as (_, control_plane):
        stream = await control_plane.open("logs", {})
        assert await stream.receive() == b"first lines"
        problem = await failure_of(stream.receive())

    assert isinstance(problem, Denied)


async def test_what_was_sent_before_a_normal_end_is_received_and_then_the_end(trust: Trust) -> None:
    async def tail(stream: Stream) -> None:
        await stream.send_all(b"x" * 100_000)

    async with tunnel(trust, agent=tail) as (_, control_plane):
        stream = await control_plane.open("logs", {})
        assert await read_all(stream) == b"x" * 100_000
        assert "reads no more" in (await failure_of(send_for_ever(stream))).text


async def send_for_ever(stream: Stream) -> None:
    while True:
        await stream.send_all(b"x" * 10_000)


async def test_a_handler_is_cancelled_when_its_stream_is_reset(trust: Trust) -> None:
    witness = Witness()
    async with tunnel(trust, agent=witness.wait) as (_, control_plane):
        stream = await control_plane.open("logs", {})
        await witness.began.wait()
        stream.reset("the user has gone", code="cancelled")
        await until(lambda: witness.ended)

    assert witness.ended == "cancelled"


async def test_leaving_a_stream_by_an_error_resets_it(trust: Trust) -> None:
    witness = Witness()
    async with tunnel(trust, agent=witness.wait) as (_, control_plane):
        with pytest.raises(ZeroDivisionError):
            async with await control_plane.open("logs", {}):
                raise ZeroDivisionError
        await until(lambda: witness.ended)


async def test_an_opener_that_gives_up_waiting_takes_its_stream_back(trust: Trust) -> None:
    witness = Witness(accepting=False)
    async with tunnel(trust, agent=witness.wait) as (agent, control_plane):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(control_plane.open, "logs", {})
            await witness.began.wait()
            tasks.cancel_scope.cancel()
        await until(lambda: witness.ended)
        assert agent.streams == control_plane.streams == 0


async def test_a_sender_waits_for_its_reader_and_is_woken_by_a_reset(trust: Trust) -> None:
    async def read_nothing(stream: Stream) -> None:
        stream.accept()
        await anyio.sleep_forever()

    async with tunnel(trust, agent=read_nothing) as (_, control_plane):
        stream = await control_plane.open("x", {})
        problems = []

        async def send() -> None:
            problems.append(await failure_of(stream.send_all(b"x" * 10 * MIB)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await until(lambda: stream.flow.parked)
            stream.reset("enough")

    assert "this side has reset the stream: enough" in problems[0].text


async def test_one_reader_stopped_stalls_nobody_else(trust: Trust) -> None:
    async def serve(stream: Stream) -> None:
        if stream.kind == "stopped":
            stream.accept()
            await anyio.sleep_forever()
        await read_all(stream)
        await stream.send_all(b"got it all")

    async with tunnel(trust, agent=serve) as (agent, control_plane), anyio.create_task_group() as tasks:
        stopped = [await control_plane.open("stopped", {}) for _ in range(4)]
        for stream in stopped:
            tasks.start_soon(stream.send_all, b"x" * 10 * MIB)
        await until(lambda: all(stream.flow.parked for stream in stopped))
        running = await control_plane.open("running", {})
        with anyio.fail_after(60):
            await running.send_all(b"y" * 20 * MIB)
            await running.send_eof()
            assert await running.receive() == b"got it all"
        assert agent.reason is None
        tasks.cancel_scope.cancel()


async def test_a_peer_that_takes_no_messages_is_noticed(trust: Trust) -> None:
    async with open_door(trust, on_link=ignore) as door, anyio.create_task_group() as tasks:
        agent = await call(door, tasks)

        async def flood() -> None:
            while True:
                agent.send({"text": "x" * 200_000})
                await anyio.sleep(0)

        problem = await failure_of(flood())
        assert agent.reason is None
        tasks.cancel_scope.cancel()

    assert isinstance(problem, LimitExceeded)


async def test_a_link_nobody_attends_to_still_notices_its_end(trust: Trust) -> None:
    reasons: list[str] = []

    async def host(link: Link) -> None:
        reasons.append(await link.closed())

    async with open_door(trust, on_link=host) as door, anyio.create_task_group() as tasks:
        agent = await call(door, tasks)
        agent.send({"type": "nobody listens"})
        assert isinstance(await failure_of(agent.open("logs", {})), NotFound)
        agent.close("joined, that is all")
        await until(lambda: reasons)

    assert reasons == ["joined, that is all"]


async def ignore(link: object) -> None:
    """Attend to nothing."""
    await anyio.sleep_forever()


async def test_a_goodbye_tells_the_reason_and_fails_the_streams(either: Trust | None) -> None:
    witness = Witness()
    async with tunnel(either, agent=witness.wait) as (agent, control_plane):
        stream = await control_plane.open("logs", {})
        await witness.began.wait()
        agent.close("this node is being drained")

        assert await control_plane.closed() == "this node is being drained"
        assert await agent.closed() == "this node is being drained"
        assert "this node is being drained" in (await failure_of(stream.receive())).text
        await until(lambda: witness.ended)
        with pytest.raises(Unavailable, match="being drained"):
            control_plane.send({})
        with pytest.raises(Unavailable, match="being drained"):
            await control_plane.open("logs", {})


async def test_a_dialler_that_is_cancelled_says_goodbye(trust: Trust) -> None:
    async with open_door(trust) as door:
        async with anyio.create_task_group() as tasks:
            await call(door, tasks)
            link = await door.link()
            tasks.cancel_scope.cancel()
        assert await link.closed() == "the dialler is shutting down"


async def test_heartbeats_are_heard(trust: Trust) -> None:
    async with tunnel(trust) as (_, control_plane):
        begin = control_plane.last_heard()
        await until(lambda: control_plane.last_heard() > begin + 0.25)
        assert control_plane.reason is None


async def test_a_silent_peer_is_given_up(trust: Trust) -> None:
    async with open_door(trust, silence_secs=0.2) as door, anyio.create_task_group() as tasks:
        door.welcome = type(door.welcome)(session="s1", heartbeat_secs=3600)
        agent = await call(door, tasks)
        control_plane = await door.link()

        assert await control_plane.closed() == "nothing was heard for 0.2 s"
        assert await agent.closed() == "nothing was heard for 0.2 s"
        tasks.cancel_scope.cancel()


async def test_many_streams_at_once_keep_their_bytes_apart(either: Trust | None) -> None:
    async def check(link: Any, number: int) -> None:
        text = f"stream {number} ".encode() * 3000
        async with await link.open("echo", {}) as stream:
            await stream.send_all(text[:100])
            got = await stream.receive()
            await stream.send_all(text[100:])
            await stream.send_eof()
            assert got + await read_all(stream) == text

    async with tunnel(either) as (agent, control_plane):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(check, agent if number % 2 else control_plane, number)
        await until(lambda: agent.streams == control_plane.streams == 0)


async def test_streams_that_end_leave_their_places(trust: Trust) -> None:
    async with tunnel(trust) as (agent, _):
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(700):
                    tasks.start_soon(_ping, agent)
        assert agent.streams == 0


async def _ping(link: Any) -> None:
    async with await link.open("echo", {}) as stream:
        await stream.send_all(b"ping")
        assert await stream.receive() == b"ping"


async def test_only_one_task_may_receive_or_send(trust: Trust) -> None:
    async with tunnel(trust) as (agent, _), await agent.open("echo", {}) as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(stream.receive)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="another task receives"):
            await stream.receive()
        tasks.cancel_scope.cancel()
