"""The protocol as a conversation of bytes: credit, and the order of sending."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.tunnel import frames
from fledx.tunnel.credit import FIRST_WINDOW, MAX_WINDOW, SESSION_EXTRA, WINDOW, Budget, Window
from fledx.tunnel.events import (
    Closed,
    Opened,
)
from fledx.tunnel.flows import MAX_STREAMS
from fledx.tunnel.multiplexer import SPARSE_FRAME
from tests.unit.tunnel.talk import Pipe, Talk, kinds, pipe_of, sent_through

KIB = 1024


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

    def test_a_window_grows_with_what_a_busy_machine_can_do_whatever_its_quietest_round_trip(self) -> None:
        def size_at(per_second: int) -> int:
            window, budget = Window(WINDOW, 0.0), Budget()
            for turn in range(1, 50):
                window.eat(16 * KIB, turn * 16 * KIB / per_second, 0.00005, budget)
            return window.size

        assert size_at(50_000_000) == WINDOW
        assert size_at(200_000_000) > WINDOW

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
