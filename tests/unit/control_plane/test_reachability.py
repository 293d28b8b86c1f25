"""Silence is shown soon and acted on late, and our own absence is nobody's silence."""

from __future__ import annotations

import pytest

from fledx.control_plane.reachability import Action, MarkBack, MarkUnreachable, MoveWork, Silence, Watchfulness, decide


def actions(status: str, seconds: float, *, owns: bool = True, move: bool = True) -> list[type[Action]]:
    limits = frozenset([90.0]) if owns else frozenset[float]()
    silence = Silence(node_id="n", status=status, seconds=seconds, limits=limits)
    return [type(each) for each in decide([silence], heartbeat_secs=5, move=move)]


@pytest.mark.parametrize(
    ("status", "seconds", "expected"),
    [
        ("ready", 0, []),
        ("ready", 14.9, []),
        ("ready", 15, [MarkUnreachable]),
        ("error", 15, [MarkUnreachable]),
        ("registering", 1000, []),
        ("unreachable", 89.9, []),
        ("unreachable", 90, [MoveWork]),
    ],
)
def test_three_missed_heartbeats_are_shown_and_work_moves_only_when_stale(
    status: str, seconds: float, expected: list[type[Action]]
) -> None:
    assert actions(status, seconds) == expected


@pytest.mark.parametrize(
    ("status", "seconds", "expected"),
    [("ready", 89.9, []), ("ready", 90, [MarkUnreachable]), ("unreachable", 89.9, []), ("unreachable", 90, [MoveWork])],
)
@pytest.mark.parametrize("stale", [20.0, 90.0])
def test_a_metered_node_has_the_time_of_its_own_three_heartbeats(
    status: str, seconds: float, expected: list[type[Action]], stale: float
) -> None:
    silence = Silence(node_id="n", status=status, seconds=seconds, limits=frozenset([stale]), metered=True)
    found = decide([silence], heartbeat_secs=5, move=True, stale_secs=stale)
    assert [type(each) for each in found] == expected


def test_a_node_is_shown_as_unreachable_before_its_work_moves() -> None:
    assert actions("ready", 1000) == [MarkUnreachable]


def test_nothing_moves_from_a_node_that_owns_nothing_or_when_moving_is_off() -> None:
    assert actions("unreachable", 1000, owns=False) == []
    assert actions("unreachable", 1000, move=False) == []


def test_a_node_that_is_heard_again_over_the_same_session_is_shown_as_back() -> None:
    heard = Silence(node_id="n", status="unreachable", seconds=1, connected=True)

    assert decide([heard], heartbeat_secs=5, move=True) == [MarkBack(node_id="n")]
    assert actions("unreachable", 1) == []


def test_every_action_says_why() -> None:
    silence = Silence(node_id="n", status="unreachable", seconds=95, limits=frozenset([90.0, 300.0]))

    (found,) = decide([silence], heartbeat_secs=5, move=True)

    assert isinstance(found, MoveWork)
    assert found.reason == "no sign of life for 95 s, over the limit of 90 s"


def test_after_a_pause_of_our_own_everybody_has_the_full_time_again() -> None:
    awake = Watchfulness(now=100.0, longest_nap=6.0)

    assert awake.look(101.0) == 100.0
    assert awake.look(106.5) == 100.0
    assert awake.look(300.0) == 300.0
    assert awake.look(301.0) == 300.0
