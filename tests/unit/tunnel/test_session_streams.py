"""The protocol as a conversation of bytes: streams, from their opening to their end."""

from __future__ import annotations

import pytest

from fledx.errors import InvalidSpec, LimitExceeded
from fledx.tunnel import frames
from fledx.tunnel.credit import WINDOW
from fledx.tunnel.events import (
    Accepted,
    Closed,
    Failed,
    Opened,
)
from fledx.tunnel.flow import LEFT
from fledx.tunnel.flows import MAX_STREAMS
from tests.unit.tunnel.talk import Pipe, Talk, kinds, pipe_of, sent_through


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
