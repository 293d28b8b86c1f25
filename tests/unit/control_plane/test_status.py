"""What a deployment's state is called follows from what is wanted, who owns it and what was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fledx.control_plane.replicas.status import Derived, derive
from fledx.models.assignment import Assignment
from fledx.models.deployment import Pending
from fledx.models.instance import STATES, Instance
from tests.builders import assignment, instance, spec

OWNERS = [assignment(replica_number=0), assignment(replica_number=1, node_id="n2", node="edge-2")]
SEEN = [instance(replica_number=0), instance(replica_number=1, node_id="n2")]


def of(
    owners: list[Assignment] = OWNERS,
    seen: list[Instance] = SEEN,
    *,
    pending: tuple[Pending, ...] = (),
    away: dict[str, str] | None = None,
    revision: int = 1,
    **changes: Any,
) -> Derived:
    return derive(spec(**{"replicas": 2, **changes}), revision, owners, pending, seen, away or {})


def test_all_ready_is_running() -> None:
    assert of() == Derived(status="running", reason=None, ready=2)


def test_one_of_two_is_not_running_yet() -> None:
    assert of(seen=SEEN[:1]) == Derived(status="deploying", reason="waiting for 1 replica", ready=1)


def test_running_but_not_ready_does_not_count() -> None:
    slow = replace(SEEN[1], ready=False, message="readiness: http 503")

    assert of(seen=[SEEN[0], slow]) == Derived(status="deploying", reason="replica 1: readiness: http 503", ready=1)


def test_a_container_of_the_old_revision_does_not_count_as_the_new_one() -> None:
    owners = [replace(owner, revision=2) for owner in OWNERS]

    assert of(owners, revision=2).ready == 0


def test_a_replica_that_still_has_to_be_updated_does_not_count() -> None:
    owners = [replace(OWNERS[0], revision=2), OWNERS[1]]
    seen = [replace(SEEN[0], revision=2), SEEN[1]]

    assert of(owners, seen, revision=2).ready == 1


def test_what_an_earlier_owner_reports_counts_for_nothing() -> None:
    stale = instance(replica_number=0, node_id="n9", state="failed", message="gone")

    assert of(seen=[stale, *SEEN]).status == "running"
    assert of(seen=[replace(SEEN[0], fence=0), SEEN[1]]).ready == 1


def test_a_failed_replica_makes_the_deployment_failed_with_its_message() -> None:
    broken = replace(SEEN[1], state="failed", ready=False, message="exit code 3")

    assert of(seen=[SEEN[0], broken]) == Derived(status="failed", reason="replica 1: exit code 3", ready=1)


def test_without_any_place_it_is_pending_and_says_why() -> None:
    nowhere = (Pending(replica_number=0, reason="no nodes"), Pending(replica_number=1, reason="no nodes"))

    assert of([], [], pending=nowhere).status == "pending"
    assert of([], [], pending=nowhere).reason == "2 replicas without a place: no nodes"


def test_what_a_silent_node_reported_last_counts_for_nothing() -> None:
    found = of(away={"n2": "node edge-2 has been unreachable since noon"})

    assert found == Derived(
        status="deploying", reason="replica 1: node edge-2 has been unreachable since noon", ready=1
    )


@pytest.mark.parametrize(("left", "word"), [(SEEN, "deploying"), ([], "stopped")])
def test_it_is_stopped_when_the_last_container_is_gone(left: list[Instance], word: str) -> None:
    assert of(seen=left, desired_state="stopped").status == word


@given(
    states=some.lists(some.tuples(some.sampled_from(STATES), some.booleans(), some.integers(1, 2)), max_size=5),
    revision=some.integers(1, 2),
)
def test_it_runs_only_when_every_replica_is_ready_and_otherwise_says_why(
    states: list[tuple[str, bool, int]], revision: int
) -> None:
    owners = [assignment(replica_number=i, revision=revision) for i in range(5)]
    seen = [
        instance(replica_number=i, state=word, ready=ready, revision=made)
        for i, (word, ready, made) in enumerate(states)
    ]

    found = of(owners, seen, revision=revision, replicas=5)

    assert (found.status == "running") == (found.ready == 5)
    assert (found.reason is None) == (found.status == "running")
