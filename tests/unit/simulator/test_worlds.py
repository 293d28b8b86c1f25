"""Thousands of seeded worlds of failing nodes, control planes and operators, on the real use cases and loops."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

import anyio
import pytest

from fledx.control_plane.reachability import Watchfulness
from fledx.control_plane.replicas import placing
from fledx.control_plane.rollout.look import Look
from fledx.control_plane.scheduler import everywhere
from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.draft import Draft
from fledx.control_plane.scheduler.offers import Offers
from fledx.control_plane.scheduler.ports import Ports
from fledx.control_plane.store import counters, finished
from tests import rounds
from tests.unit.simulator.story import Breach, Story
from tests.unit.simulator.world import template

#: As `build.py test --soak --seed N` says; FLEDX_WORLDS=100000 FLEDX_SEED=7 pytest tests/unit/simulator alone.
WORLDS, FIRST = rounds.worlds(), rounds.first_seed()
QUICK = 25
PARTS = 8


def run(first: int, count: int) -> Counter[str]:
    """Live through so many worlds; a breach names its seed."""
    seen: Counter[str] = Counter()
    origin = template()
    for seed in range(first, first + count):
        try:
            seen.update(anyio.run(Story(seed, origin).live))
        except Exception as breach:
            raise AssertionError(f"replay with FLEDX_SEED={seed} FLEDX_WORLDS=1: {breach!r}") from breach
    return seen


def test_some_worlds_hold_and_settle() -> None:
    run(FIRST, min(QUICK, WORLDS))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_fault_39_many_worlds_hold_and_settle(part: int) -> None:
    first = FIRST + QUICK
    bounds = [first + max(0, WORLDS - QUICK) * i // PARTS for i in (part, part + 1)]
    seen = run(bounds[0], bounds[1] - bounds[0])
    if WORLDS >= 1000:
        moves = ("replica.moved", "replica.returned", "deployment.rolled_back", "node.drained", "taken", "crash")
        tried = (*moves, "job.succeeded", "job.failed", "near a peer", "apart a peer")
        assert all(seen[word] for word in tried), f"the worlds do not try enough: {seen}"


def breach() -> str:
    """What the first breach among 150 worlds says."""
    origin = template()
    for seed in range(150):
        try:
            anyio.run(Story(seed, origin).live)
        except Breach as found:
            return str(found)
    return "nothing"


def test_a_filter_that_is_broken_on_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draft, "_short", lambda *_: None)
    made = Offers.__init__

    def careless(self: Offers, *facts: Any) -> None:
        made(self, *facts)
        self.cpu = -(10**9)

    monkeypatch.setattr(Offers, "__init__", careless)
    assert "given away" in breach()


def test_a_port_filter_that_is_broken_on_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draft, "_untouched", lambda *_: True)
    monkeypatch.setattr(Ports, "shut", lambda *_: frozenset())
    assert "ports given twice" in breach()


def test_an_apartness_that_is_broken_on_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Board, "barred", lambda *_: frozenset())
    assert "brought together" in breach()


def test_a_fence_that_is_broken_on_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    rising = counters.following

    def following(sql: sqlite3.Connection, name: str, *, by: int = 1) -> int:
        return by if name == placing.FENCE else rising(sql, name, by=by)

    monkeypatch.setattr(counters, "following", following)
    assert "two owners under one fence" in breach()


def test_a_rollout_gate_that_is_broken_on_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Look, "_free", lambda *_: 99)
    assert "down by our doing" in breach()


def test_a_patience_that_is_broken_on_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was away himself takes others for dead."""
    monkeypatch.setattr(Watchfulness, "look", lambda *_: -1e12)
    assert "of silence" in breach()


def test_a_global_deployment_that_does_not_follow_its_nodes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everywhere, "unfitting", lambda *_: None)
    assert "which do not suit" in breach()


def test_a_job_that_is_moved_after_its_end_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "outcome_of", lambda *_: None)
    assert "had run to its end and was given to" in breach()
