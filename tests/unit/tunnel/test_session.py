"""The protocol as a conversation of bytes: the greeting, messages, life and the end."""

from __future__ import annotations

import pytest

from fledx.errors import LimitExceeded, Unavailable
from fledx.tunnel import frames, greeting
from fledx.tunnel.credit import FIRST_WINDOW
from fledx.tunnel.events import (
    Answered,
    AuthorityAsked,
    AuthorityTold,
    Closed,
    Greeted,
    Told,
)
from fledx.tunnel.greeting import Refused
from fledx.tunnel.session import HEARTBEAT
from tests.unit.tunnel.talk import HELLO, WELCOME, Clock, Side, Talk, kinds


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
            HEARTBEAT,
            frames.frame(frames.DATA, 1, b"x"),
            greeting.welcome_frame(WELCOME),
        ],
        ids=["message", "heartbeat", "short heartbeat", "data", "welcome"],
    )
    def test_nothing_comes_before_the_hello(self, frame: bytes) -> None:
        listener = Side(Clock(), dialler=False)

        listener.hears(frame)

        assert listener.last(Closed).faulty
        assert "out of place" in listener.last(Closed).reason

    def test_nothing_comes_between_hello_and_welcome(self) -> None:
        listener = Side(Clock(), dialler=False)

        listener.hears(greeting.hello_frame(HELLO) + frames.frame(frames.HEARTBEAT))

        assert "this HEARTBEAT frame is out of place" in listener.last(Closed).reason

    def test_a_second_hello_is_out_of_place(self) -> None:
        talk = Talk()

        talk.listener.hears(greeting.hello_frame(HELLO))

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

    def test_a_message_that_can_wait_takes_a_heartbeats_place(self) -> None:
        talk = Talk()
        session = talk.dialler.session
        talk.clock.now += 3
        session.tell_in_time({"type": "digest"})
        assert talk.dialler.sends() == b""
        assert session.beat(talk.clock.now) == pytest.approx(2)
        assert talk.dialler.sends() == b""

        talk.clock.now += 2
        assert session.beat(talk.clock.now) == 5
        assert kinds(talk.dialler.sends()) == [(frames.MESSAGE, 0)]
        talk.clock.now += 5
        session.beat(talk.clock.now)
        assert kinds(talk.dialler.sends()) == [(frames.HEARTBEAT, 0)]

    def test_a_message_that_can_wait_goes_before_the_next_that_cannot(self) -> None:
        talk = Talk()
        for kind in ("digest", "token"):
            talk.dialler.session.tell_in_time({"type": kind})
        talk.dialler.session.tell({"type": "report"})

        talk.exchange()

        told = [event.message["type"] for event in talk.listener.heard if isinstance(event, Told)]
        assert told == ["digest", "token", "report"]

    def test_a_message_that_can_wait_holds_no_heartbeat_up_while_others_wait(self) -> None:
        talk = Talk()
        session = talk.dialler.session
        session.tell({"type": "report"})
        session.tell_in_time({"type": "digest"})
        talk.clock.now += 5

        session.beat(talk.clock.now)

        assert kinds(talk.dialler.sends()) == [(frames.HEARTBEAT, 0), (frames.MESSAGE, 0)]

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
