"""What replicas used as it travels from agents, packed."""

from __future__ import annotations

import contextlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.agent.spent import MOST_MINUTES, Spent
from fledx.errors import InvalidSpec
from fledx.models.usage import FIGURES, MAX_MINUTES, Minute, pack, unpack

COUNTS = st.integers(0, 2**62)
MINUTES = st.builds(
    Minute,
    deployment_id=st.text(max_size=40),
    replica_number=st.integers(0, 10_000),
    minute=st.integers(0, 2**31),
    samples=st.integers(1, 100),
    figures=st.tuples(st.integers(0, 10**7).map(lambda n: n / 100), *[COUNTS.map(float)] * 5),
)


def order(found: list[Minute]) -> list[Minute]:
    return sorted(found, key=lambda each: (each.deployment_id, each.replica_number, each.minute))


@given(st.lists(MINUTES, max_size=20))
def test_what_is_packed_comes_out_by_replica_and_minute(found: list[Minute]) -> None:
    unpacked = unpack(pack(found))
    assert [(each.deployment_id, each.replica_number, each.minute) for each in unpacked] == [
        (each.deployment_id, each.replica_number, each.minute) for each in order(found)
    ]
    assert sorted(map(repr, unpacked)) == sorted(map(repr, found))


@given(st.binary(max_size=200))
def test_any_bytes_are_usage_or_refused(junk: bytes) -> None:
    for packed in (junk, zlib.compress(junk)):
        with contextlib.suppress(InvalidSpec):
            assert unpack(packed) == []


@pytest.mark.parametrize(
    "rows",
    [
        {"a": 1},
        [5],
        [["d", 0, [1], [1], *[[1]] * 5]],
        [["d", 0, [1, 1], [1], *[[1]] * 6]],
        [["d", 0, [1], [0], *[[1]] * 6]],
        [["d", 0, [1], [1], *[[-1]] * 6]],
        [["d", 0, [1], [1], *[[2**63]] * 6]],
        [["d", 0, [1], [1], *[["x"]] * 6]],
        [["d", 0, [2**70], [1], *[[1]] * 6]],
        [["d", 2**70, [1], [1], *[[1]] * 6]],
        [["d", "x", [1], [1], *[[1]] * 6]],
        [[7, 0, [1], [1], *[[1]] * 6]],
    ],
)
def test_columns_that_are_none_are_refused(rows: object) -> None:
    with pytest.raises(InvalidSpec, match="this is not usage"):
        unpack(zlib.compress(json.dumps(rows).encode()))


def test_a_bomb_and_a_flood_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="longer than a message"):
        unpack(zlib.compress(b" " * 10_000_000))
    column = [1] * (MAX_MINUTES + 1)
    with pytest.raises(InvalidSpec, match="more than"):
        unpack(zlib.compress(json.dumps([["d", 0, *[column] * 8]]).encode()))


def sample(minute: int, cpu: float = 1.0) -> dict[str, object]:
    return {
        "deployment_id": "d",
        "replica_number": 0,
        "minute": minute,
        **dict.fromkeys(FIGURES, 8),
        "cpu_percent": cpu,
    }


def test_each_sample_is_in_one_message_even_when_its_minute_is_told_in_two_parts() -> None:
    spent = Spent()
    spent.add([sample(1, 1.0), sample(2, 3.0)])
    (first,) = spent.batches()
    spent.told(first)
    spent.add([sample(2, 5.0), sample(2, 7.0)])
    (second,) = spent.batches()

    assert [(1, 1, 1.0), (2, 1, 3.0)] == [(each.minute, each.samples, each.figures[0]) for each in first]
    assert [(2, 2, 6.0)] == [(each.minute, each.samples, each.figures[0]) for each in second]


def test_what_was_not_taken_by_the_link_is_told_again_and_the_oldest_gives_way_after_a_week() -> None:
    """Fault 6: a week without a link is ten thousand minutes of each replica."""
    spent = Spent()
    for minute in range(7 * 24 * 60):
        spent.add([sample(minute)])
    batches = list(spent.batches())

    assert len(spent) == MOST_MINUTES
    assert [MAX_MINUTES, MAX_MINUTES, MOST_MINUTES - 2 * MAX_MINUTES] == [len(each) for each in batches]
    assert batches == list(spent.batches())
    assert batches[-1][-1].minute == 7 * 24 * 60 - 1
