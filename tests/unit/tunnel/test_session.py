"""The protocol as a conversation of bytes: greeting, streams, credit, order of sending, and the end."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.errors import InvalidSpec, LimitExceeded, Unavailable
from fledx.tunnel import frames
from fledx.tunnel.credit import FIRST_WINDOW, MAX_WINDOW, SESSION_EXTRA, WINDOW
from fledx.tunnel.events import (
    Accepted,
    Answered,
    AuthorityAsked,
    AuthorityTold,
    Closed,
    Failed,
    Greeted,
    Opened,
    Told,
)
from fledx.tunnel.flow import Flow
from fledx.tunnel.flows import MAX_STREAMS
from fledx.tunnel.frames import Refused
from fledx.tunnel.session import LEFT, SPARSE_FRAME
from tests.unit.tunnel.talk import HELLO, WELCOME, Clock, Pipe, Side, Talk, pipe_of

KIB = 1024


def kinds(data: bytes) -> list[tuple[int, int]]:
    """Kind and stream of every frame."""
    unpacker = msgpack.Unpacker(max_bin_len=frames.MAX_DATA)
    unpacker.feed(data)
    return [(kind, stream) for kind, stream, _ in unpacker]


def sent_through(talk: Talk, cargo: bytes) -> tuple[Flow, Flow]:
    """A stream of the dialler on which `cargo` waits, and what the listener knows of it."""
    flow, _ = talk.dialler.opens(Pipe(cargo))
    talk.exchange()
    return flow, talk.listener.last(Opened).flow


class TestGreeting:
    def test_a_hello_is_answered_with_a_welcome(self) -> None:
        talk = Talk()

        assert talk.listener.last(Greeted).hello == HELLO
        assert talk.dialler.last(Answered).answer == WELCOME
        assert talk.dialler.session.is_open
        assert talk.listener.session.is_open

    def test_a_hello_that_is_not_taken_ends_the_session(self) -> None:
        dialler, listener = Side(Clock(), dialler=True), Side(Clock(), dialler=False)
        dialler.session.greet(HELLO)
        listener.hears(dialler.sends())

        listener.session.answer(Refused(code="denied", reason="the token is not known"))
        dialler.hears(listener.sends())

        assert dialler.last(Answered).answer == Refused(code="denied", reason="the token is not known")
        assert dialler.session.closed
        assert listener.session.closed

    def test_another_protocol_is_refused_naming_both(self) -> None:
        dialler, listener = Side(Clock(), dialler=True), Side(Clock(), dialler=False)

        listener.hears(frames.map_frame(frames.HELLO, {"protocol": 2, "version": "9.1.0"}))
        dialler.hears(listener.sends())

        refused = dialler.last(Answered).answer
        assert refused.code == "protocol"
        assert "protocol 1" in refused.reason
        assert "protocol 2 (fledx 9.1.0)" in refused.reason

    def test_a_stranger_may_ask_for_the_authority_and_nothing_else(self) -> None:
        dialler, listener = Side(Clock(), dialler=True), Side(Clock(), dialler=False)
        dialler.session.ask_authority()

        listener.hears(dialler.sends())
        listener.session.tell_authority("-----BEGIN CERTIFICATE-----")
        dialler.hears(listener.sends())

        assert isinstance(listener.heard[0], AuthorityAsked)
        assert dialler.last(AuthorityTold).certificates == "-----BEGIN CERTIFICATE-----"
        assert listener.session.closed

    @pytest.mark.parametrize(
        "frame",
        [
            frames.map_frame(frames.MESSAGE, {}),
            frames.frame(frames.HEARTBEAT),
            frames.frame(frames.DATA, 1, b"x"),
            frames.welcome_frame(WELCOME),
        ],
        ids=["message", "heartbeat", "data", "welcome"],
    )
    def test_nothing_comes_before_the_hello(self, frame: bytes) -> None:
        listener = Side(Clock(), dialler=False)

        listener.hears(frame)

        assert listener.last(Closed).faulty
        assert "out of place" in listener.last(Closed).reason

    def test_nothing_comes_between_hello_and_welcome(self) -> None:
        listener = Side(Clock(), dialler=False)

        listener.hears(frames.hello_frame(HELLO) + frames.frame(frames.HEARTBEAT))

        assert "this HEARTBEAT frame is out of place" in listener.last(Closed).reason

    def test_a_second_hello_is_out_of_place(self) -> None:
        talk = Talk()

        talk.listener.hears(frames.hello_frame(HELLO))

        assert "this HELLO frame is out of place" in talk.listener.last(Closed).reason

    def test_a_stranger_cannot_make_us_gather_what_it_may_not_send(self) -> None:
        listener = Side(Clock(), dialler=False)

        listener.hears(frames.frame(frames.MESSAGE, 0, b"x" * 1000)[:20])

        assert listener.last(Closed).faulty

    def test_the_token_is_in_no_reason(self) -> None:
        listener = Side(Clock(), dialler=False)
        fields = {"protocol": 1, "role": 5, "token": "secret-token"}

        listener.hears(frames.map_frame(frames.HELLO, fields))

        assert "secret-token" not in listener.last(Closed).reason


class TestMessagesAndLife:
    def test_messages_arrive_in_order(self) -> None:
        talk = Talk()
        for number in range(5):
            talk.listener.session.tell({"type": "report", "number": number})

        talk.exchange()

        assert [event.message["number"] for event in talk.dialler.heard if isinstance(event, Told)] == [0, 1, 2, 3, 4]

    def test_messages_nobody_takes_are_limited(self) -> None:
        talk = Talk()

        def flood() -> None:
            while True:
                talk.listener.session.tell({"type": "report", "text": "x" * 100_000})

        with pytest.raises(LimitExceeded, match="messages wait"):
            flood()

    def test_a_heartbeat_goes_when_nothing_else_went(self) -> None:
        talk = Talk()
        session = talk.dialler.session
        assert session.beat(talk.clock.now) == 5

        talk.clock.now += 3
        session.tell({"type": "report"})
        talk.exchange()
        talk.clock.now += 4

        assert session.beat(talk.clock.now) == pytest.approx(1)
        assert talk.dialler.sends() == b""
        talk.clock.now += 1
        assert session.beat(talk.clock.now) == 5
        assert kinds(talk.dialler.sends()) == [(frames.HEARTBEAT, 0)]

    def test_a_heartbeat_is_all_a_listener_needs_to_hear(self) -> None:
        talk = Talk()
        talk.clock.now += 17

        talk.listener.hears(frames.frame(frames.HEARTBEAT))

        assert talk.listener.session.last_heard == talk.clock.now

    def test_heartbeats_do_not_pile_up_behind_a_blocked_socket(self) -> None:
        talk = Talk()
        for _ in range(100):
            talk.clock.now += 5
            talk.dialler.session.beat(talk.clock.now)

        assert kinds(talk.dialler.sends()) == [(frames.HEARTBEAT, 0)]

    def test_a_goodbye_ends_both_sides_with_its_reason(self) -> None:
        talk = Talk()

        talk.listener.session.close("closed", "the control plane is shutting down")
        talk.exchange()

        assert talk.dialler.last(Closed) == Closed("closed", "the control plane is shutting down", faulty=False)
        with pytest.raises(Unavailable, match="shutting down"):
            talk.dialler.session.tell({})
        with pytest.raises(Unavailable, match="shutting down"):
            talk.listener.session.open("logs", {}, 0)

    def test_a_fault_is_told_to_the_peer(self) -> None:
        talk = Talk()

        talk.listener.hears(frames.frame(frames.DATA, 1, b"x"))
        talk.exchange()

        assert "stream 1 was never opened" in talk.dialler.last(Closed).reason

    def test_nothing_is_understood_after_the_end(self) -> None:
        talk = Talk()
        talk.listener.session.close("closed", "enough")

        assert talk.listener.hears(frames.map_frame(frames.MESSAGE, {})) == []

    def test_a_peer_that_only_pings_gets_one_answer_at_a_time(self) -> None:
        talk = Talk()

        talk.listener.hears(frames.frame(frames.PING) * 10_000)

        assert kinds(talk.listener.sends()) == [(frames.PONG, 0)]

    def test_a_peer_that_reads_no_control_frames_loses_the_session(self) -> None:
        talk = Talk()
        opening = frames.Opening("x", {}, FIRST_WINDOW)
        for stream in range(1, 40_000, 2):
            talk.listener.hears(frames.open_frame(stream, opening))

        assert talk.listener.session.closed
        assert "leaves 262144 bytes of control frames unread" in talk.listener.session.closed.reason
        assert kinds(talk.listener.sends()) == [(frames.GOODBYE, 0)]


class TestStreams:
    def test_a_stream_carries_bytes_both_ways_and_ends_each_way_on_its_own(self) -> None:
        talk = Talk()
        ours, mine = talk.dialler.opens(Pipe(b"question", ending=True))
        talk.exchange()
        theirs = talk.listener.last(Opened).flow
        pipe = pipe_of(theirs)

        assert pipe.got == b"question"
        assert pipe.over
        assert not mine.over

        pipe.cargo, pipe.ending = b"answer", True
        talk.listener.session.ready(theirs)
        talk.exchange()

        assert mine.got == b"answer"
        assert mine.over
        assert ours.dead
        assert theirs.dead
        assert len(talk.dialler.session.flows) == len(talk.listener.session.flows) == 0

    def test_the_opener_hears_that_its_stream_is_taken(self) -> None:
        talk = Talk()
        talk.listener.accept = False
        flow, _ = talk.dialler.opens()
        talk.exchange()

        talk.listener.session.accept(talk.listener.last(Opened).flow, {"pid": 7})
        talk.exchange()

        assert talk.dialler.last(Accepted) == Accepted(flow, {"pid": 7})

    def test_both_sides_open_streams_without_agreeing_on_numbers(self) -> None:
        talk = Talk()

        numbers = [side.opens()[0].id for side in (talk.dialler, talk.listener, talk.dialler, talk.listener)]
        talk.exchange()

        assert numbers == [1, 2, 3, 4]
        assert len(talk.dialler.session.flows) == 4

    def test_a_reset_reaches_the_peer_with_its_reason(self) -> None:
        talk = Talk()
        ours, theirs = sent_through(talk, b"some")

        talk.listener.session.reset(theirs, "not_found", "no replica 3 here")
        talk.exchange()

        assert talk.dialler.last(Failed) == Failed(ours, "not_found", "no replica 3 here")
        assert ours.dead

    def test_bytes_under_way_to_a_reset_stream_are_dropped(self) -> None:
        talk = Talk()
        ours, theirs = sent_through(talk, b"")
        pipe_of(ours).cargo = b"late"
        talk.dialler.session.ready(ours)
        late = talk.dialler.sends()
        talk.listener.session.reset(theirs, "failed", "enough")

        assert talk.listener.hears(late) == []
        assert talk.listener.session.closed is None

    def test_a_stream_reset_while_it_waits_for_its_turn_sends_nothing_more(self) -> None:
        talk = Talk()
        flow, _ = talk.dialler.opens(Pipe(b"x" * 100))
        other, _ = talk.dialler.opens(Pipe(b"y" * 100))

        talk.dialler.session.reset(flow, "cancelled", "changed my mind")
        talk.exchange()

        assert [pipe_of(event.flow).got for event in talk.listener.heard if isinstance(event, Opened)] == [
            b"",
            b"y" * 100,
        ]
        assert not other.dead

    def test_a_stream_reset_while_it_waits_for_credit_is_gone(self) -> None:
        talk = Talk()
        ours, theirs = sent_through(talk, b"x" * (WINDOW + 1))
        assert ours.parked

        talk.dialler.session.reset(ours, "cancelled", "changed my mind")
        talk.listener.eats(theirs)
        talk.exchange()

        assert pipe_of(theirs).failure == ("cancelled", "changed my mind")
        assert talk.dialler.session.closed is None

    def test_whoever_leaves_still_delivers_and_is_sent_no_more(self) -> None:
        talk = Talk()
        ours, theirs = sent_through(talk, b"")
        pipe = pipe_of(theirs)
        pipe.cargo, pipe.ending = b"last words", True

        talk.listener.session.ready(theirs)
        talk.listener.session.leave(theirs)
        talk.exchange()

        assert pipe_of(ours).got == b"last words"
        assert pipe_of(ours).over
        assert pipe_of(ours).failure == (LEFT, "the other side reads no more")

    @pytest.mark.parametrize(
        ("frame", "reason"),
        [
            (frames.open_frame(1, frames.Opening("x", {}, WINDOW)), "stream 1 was opened before"),
            (frames.open_frame(2, frames.Opening("x", {}, WINDOW)), "stream 2 is not for the peer to open"),
            (frames.open_frame(5, frames.Opening("x", {}, 5)), "a window of 5 bytes"),
            (frames.frame(frames.DATA, 3, b"x"), "stream 3 was never opened"),
            (frames.frame(frames.DATA, 2, b"x"), "stream 2 was never opened"),
            (frames.frame(frames.DATA, 1, b""), "must not be empty"),
            (frames.frame(frames.END, 1) * 2, "stream 1 ended twice"),
            (frames.frame(frames.END, 1) + frames.frame(frames.DATA, 1, b"x"), "data after its end"),
            (frames.map_frame(frames.ACCEPT, {}, 1), "does not wait to be accepted"),
            (frames.credit_frame(1, 0), "was granted 0 bytes"),
            (frames.credit_frame(1, 2**31 - 1), "was granted 2147483647 bytes on top of"),
            (frames.frame(frames.CREDIT, 1, b"\x01"), "one uint32"),
            (frames.reason_frame(frames.RESET, "x", "y", 9), "stream 9 was never opened"),
        ],
    )
    def test_a_frame_that_cannot_be_ends_the_session_with_a_reason(self, frame: bytes, reason: str) -> None:
        talk = Talk()
        sent_through(talk, b"")

        talk.listener.hears(frame)

        assert talk.listener.last(Closed).faulty
        assert reason in talk.listener.last(Closed).reason

    def test_a_stream_whose_meta_cannot_travel_is_not_opened(self) -> None:
        talk = Talk()

        with pytest.raises(InvalidSpec, match="OPEN"):
            talk.dialler.session.open("exec", {"argv": object()}, 0)
        with pytest.raises(LimitExceeded, match="OPEN frame of"):
            talk.dialler.session.open("exec", {"argv": "x" * 100_000}, 0)

        assert len(talk.dialler.session.flows) == 0
        flow, _ = talk.dialler.opens()
        talk.exchange()
        assert talk.listener.last(Opened).flow.id == flow.id

    def test_streams_at_once_are_limited_on_both_sides(self) -> None:
        talk = Talk()
        for _ in range(MAX_STREAMS):
            talk.dialler.opens()
        with pytest.raises(LimitExceeded, match="1024 streams"):
            talk.dialler.opens()
        talk.exchange()

        talk.listener.hears(frames.open_frame(4001, frames.Opening("x", {}, WINDOW)))

        assert len(talk.listener.session.flows) == MAX_STREAMS
        assert kinds(talk.listener.sends())[-1] == (frames.RESET, 4001)

    def test_opening_and_resetting_in_a_hurry_gains_nothing(self) -> None:
        talk = Talk()
        for stream in range(1, 4 * MAX_STREAMS, 2):
            talk.listener.hears(frames.open_frame(stream, frames.Opening("x", {}, WINDOW)))
            talk.listener.hears(frames.reason_frame(frames.RESET, "failed", "again", stream))

        opened = [event.flow for event in talk.listener.heard if isinstance(event, Opened)]
        assert len(opened) == MAX_STREAMS

        for flow in opened:
            talk.listener.session.flows.release(flow)
        talk.listener.hears(frames.open_frame(9001, frames.Opening("x", {}, WINDOW)))
        assert talk.listener.last(Opened).flow.id == 9001


class TestCredit:
    def test_a_sender_stops_at_what_the_reader_has_granted(self) -> None:
        talk = Talk()
        ours, theirs = sent_through(talk, b"x" * 1_000_000)

        assert len(pipe_of(theirs).got) == WINDOW
        assert ours.parked

    def test_eating_half_brings_the_next_half(self) -> None:
        talk = Talk()
        _, theirs = sent_through(talk, b"x" * 1_000_000)
        talk.clock.now += 60

        talk.listener.session.eaten(theirs, WINDOW // 2 - 1, talk.clock.now)
        talk.exchange()
        assert len(pipe_of(theirs).got) == WINDOW

        talk.listener.session.eaten(theirs, 1, talk.clock.now)
        talk.exchange()
        assert len(pipe_of(theirs).got) == WINDOW * 3 // 2

    def test_more_than_the_credit_ends_the_session(self) -> None:
        talk = Talk()
        talk.listener.accept = False
        sent_through(talk, b"")

        talk.listener.hears(frames.frame(frames.DATA, 1, b"x" * (FIRST_WINDOW + 7)))

        assert "sent 7 bytes more than its credit" in talk.listener.last(Closed).reason

    def test_a_window_used_up_within_two_round_trips_doubles_to_its_limit(self) -> None:
        talk = Talk()
        _, theirs = sent_through(talk, b"x" * 20_000_000)

        talk.exchange(lambda: talk.listener.eats(theirs), seconds=0.05)

        assert theirs.window.size == MAX_WINDOW
        assert len(pipe_of(theirs).got) == 20_000_000

    def test_a_slow_reader_keeps_a_small_window(self) -> None:
        talk = Talk()
        _, theirs = sent_through(talk, b"x" * 5_000_000)

        for _ in range(60):
            talk.clock.now += 1.0
            talk.listener.eats(theirs)
            talk.exchange(seconds=0.01)

        assert theirs.window.size == WINDOW
        assert len(pipe_of(theirs).got) == 5_000_000

    def test_the_windows_of_a_session_have_a_sum(self) -> None:
        talk = Talk()
        flows = [talk.dialler.opens()[0] for _ in range(MAX_STREAMS)]

        talk.exchange()

        sides = talk.dialler.session, talk.listener.session
        assert all(side.flows.budget.left < WINDOW for side in sides)
        assert sum(flow.window.size for flow in flows) <= SESSION_EXTRA + MAX_STREAMS * FIRST_WINDOW
        for flow in flows:
            talk.dialler.session.reset(flow, "cancelled", "enough")
        talk.exchange()
        assert all(side.flows.budget.left == SESSION_EXTRA for side in sides)

    def test_an_end_needs_no_credit(self) -> None:
        talk = Talk()
        ours, theirs = sent_through(talk, b"x" * WINDOW)
        assert ours.credit == 0

        pipe_of(ours).ending = True
        talk.dialler.session.ready(ours)
        talk.exchange()

        assert pipe_of(theirs).over


class TestOrderOfSending:
    def test_heartbeats_grants_and_resets_overtake_bulk(self) -> None:
        talk = Talk()
        bulk, _ = talk.dialler.opens(Pipe(b"x" * WINDOW))
        talk.dialler.session.order.urge(frames.frame(frames.HEARTBEAT))

        said = kinds(talk.dialler.sends(quota=16 * KIB))

        assert said[:2] == [(frames.OPEN, bulk.id), (frames.HEARTBEAT, 0)]
        assert set(said[2:]) == {(frames.DATA, bulk.id)}

    def test_a_quiet_stream_goes_before_bulk_streams(self) -> None:
        talk = Talk()
        talk.listener.accept = False
        bulks = [talk.dialler.opens(Pipe(b"x" * WINDOW))[0] for _ in range(4)]
        room = memoryview(bytearray(400 * KIB))
        for _ in range(6):
            talk.dialler.session.fill(room, 4 * KIB, 0)
        quiet, _ = talk.dialler.opens(Pipe(b"GET /"))

        size = talk.dialler.session.fill(room, 4 * KIB, 0)

        assert kinds(bytes(room[:size]))[:2] == [(frames.OPEN, quiet.id), (frames.DATA, quiet.id)]
        assert all(flow.queued for flow in bulks)

    def test_bulk_streams_take_turns(self) -> None:
        talk = Talk()
        for _ in range(3):
            talk.dialler.opens(Pipe(b"x" * FIRST_WINDOW))

        said = [stream for kind, stream in kinds(talk.dialler.sends(quota=4 * KIB)) if kind == frames.DATA]

        assert said[:9] == [1, 3, 5] * 3

    def test_many_quiet_streams_do_not_starve_a_bulk_stream(self) -> None:
        talk = Talk()
        bulk, _ = talk.dialler.opens(Pipe(b"x" * FIRST_WINDOW))
        room = memoryview(bytearray(400 * KIB))
        talk.dialler.session.fill(room, 4 * KIB, 0)
        quiet = [talk.dialler.opens(Pipe(b"q"))[0] for _ in range(100)]
        talk.dialler.session.fill(room, 1, 0)

        served = 0
        for _ in range(12):
            for flow in quiet:
                pipe_of(flow).cargo = b"q"
                talk.dialler.session.ready(flow)
            size = talk.dialler.session.fill(room, 2 * KIB, 0)
            served += kinds(bytes(room[:size])).count((frames.DATA, bulk.id))

        assert served >= 11

    def test_a_stream_that_turns_bulky_sends_no_more_than_its_share_first(self) -> None:
        talk = Talk()
        first, _ = talk.dialler.opens(Pipe(b"x" * FIRST_WINDOW))
        room = memoryview(bytearray(400 * KIB))
        talk.dialler.session.fill(room, 4 * KIB, 0)
        talk.dialler.opens(Pipe(b"y" * FIRST_WINDOW))

        talk.dialler.session.fill(room, 320 * KIB, 0)

        assert first.id == 1
        assert len(pipe_of(talk.dialler.session.flows.known(3) or first).cargo) in (FIRST_WINDOW - SPARSE_FRAME, 0)

    def test_one_reader_stopped_does_not_stall_the_others(self) -> None:
        talk = Talk()
        stopped, _ = talk.dialler.opens(Pipe(b"x" * 10_000_000))
        running, _ = talk.dialler.opens(Pipe(b"y" * 10_000_000))
        talk.exchange()
        opened = [event.flow for event in talk.listener.heard if isinstance(event, Opened)]

        talk.exchange(lambda: talk.listener.eats(opened[1]))

        assert len(pipe_of(opened[0]).got) == WINDOW
        assert len(pipe_of(opened[1]).got) == 10_000_000
        assert stopped.parked
        assert not running.parked

    def test_a_large_message_waits_for_urgent_frames_only(self) -> None:
        talk = Talk()
        talk.dialler.opens(Pipe(b"x" * WINDOW))
        talk.dialler.session.tell({"text": "m" * 200_000})

        said = [kind for kind, _ in kinds(talk.dialler.sends(quota=8 * KIB))]

        assert said[:3] == [frames.OPEN, frames.MESSAGE, frames.DATA]


@settings(max_examples=60, deadline=None)
@given(
    cargoes=st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 700), min_size=1, max_size=10),
    quota=st.integers(1100, 100_000),
)
def test_whatever_the_pieces_every_stream_gets_its_own_bytes(cargoes: list[bytes], cuts: list[int], quota: int) -> None:
    talk = Talk()
    for number, cargo in enumerate(cargoes):
        side = talk.dialler if number % 2 else talk.listener
        side.opens(Pipe(cargo, ending=True), kind=str(number))

    for _ in range(4):
        for speaker, hearer in ((talk.dialler, talk.listener), (talk.listener, talk.dialler)):
            said, at, turn = speaker.sends(quota), 0, 0
            while at < len(said):
                hearer.hears(said[at : at + cuts[turn % len(cuts)]])
                at += cuts[turn % len(cuts)]
                turn += 1

    opened = [event for side in (talk.dialler, talk.listener) for event in side.heard if isinstance(event, Opened)]
    assert {event.opening.kind: pipe_of(event.flow).got for event in opened} == {
        str(number): cargo for number, cargo in enumerate(cargoes)
    }
    assert all(pipe_of(event.flow).over for event in opened)
    assert talk.dialler.session.closed is talk.listener.session.closed is None
