"""Which images go when the disk fills, in which order, and which never do (fault 31)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.agent.images.cleaning import SPARED, Kept, candidates
from fledx.agent.images.disk import Disk, InUse, Limits, Space, measure
from fledx.agent.images.records import Records
from fledx.agent.runtime.containers import Image, PullFailed
from fledx.models.desired import NodeDesiredState
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime
from tests.unit.agent.stage import NODE, replica, space

pytestmark = pytest.mark.anyio


def name(number: int) -> str:
    return f"shop@sha256:{number:064}"


def image(number: int, **fields: Any) -> Image:
    return Image(**{"id": f"i{number}", "digests": (name(number),), "size": 10, **fields})


def test_fault_31_orphans_go_first_then_old_releases_and_never_the_one_to_go_back_to() -> None:
    kept = Kept(
        pulled=frozenset(name(i) for i in range(7)),
        releases={"d": tuple(name(i) for i in (4, 3, 2, 1))},
    )
    found = candidates(kept, [image(i) for i in range(9)], wanted={name(4), name(5)}, used=())

    assert [each.name for each in found] == [name(0), name(6), name(1), name(2)]
    assert [each.reason.split()[0] for each in found] == ["no", "no", "an", "an"]


def test_fault_31_what_somebody_else_brought_or_named_stays() -> None:
    kept = Kept(pulled=frozenset((name(1), name(2))))
    there = [image(0), image(1, tags=("mine:1",)), image(2), Image(id="loaded", tags=("app:1",))]

    assert [each.name for each in candidates(kept, there, wanted=(), used=())] == [name(2)]


NAMES = st.sampled_from([name(i) for i in range(8)])


@settings(max_examples=200)
@given(
    pulled=st.frozensets(NAMES),
    releases=st.dictionaries(st.sampled_from("abc"), st.lists(NAMES, unique=True).map(tuple)),
    wanted=st.sets(NAMES),
    used=st.sets(NAMES),
)
def test_nothing_that_is_needed_or_foreign_is_ever_named(
    pulled: frozenset[str], releases: dict[str, tuple[str, ...]], wanted: set[str], used: set[str]
) -> None:
    kept = Kept(pulled=pulled, releases=releases)
    found = [each.name for each in candidates(kept, [image(i) for i in range(8)], wanted=wanted, used=used)]

    spared = {each for names in releases.values() for each in names[:SPARED]} | wanted | used
    assert set(found) == pulled - spared
    assert len(found) == len(set(found))


class World:
    """A disk of 100 bytes on which each image takes 10."""

    def __init__(self, path: Path, *, clean_percent: int = 80) -> None:
        self.runtime = FakeRuntime()
        self.runtime.root = "/docker"
        self.runtime.images = set()
        self.records = Records(path / "images.json")
        self.other = 30
        self.told: list[str] = []
        self.disk = Disk(
            self.runtime,
            self.records,
            FakeClock(),
            Limits(reserve=10, clean_percent=clean_percent),
            in_use=lambda: InUse(wanted=(), used=()),
            tell=self.told.append,
            eased=lambda: self.told.append("eased"),
            measured=lambda root: self.space,
        )

    @property
    def space(self) -> Space:
        return space(self.other + 10 * len(self.runtime.images))

    def have(self, *numbers: int) -> None:
        for number in numbers:
            self.runtime.images.add(name(number))
            self.runtime.sizes[name(number)] = 10
            self.records.pulled(name(number))


async def test_fault_31_cleaning_ends_as_soon_as_there_is_room_enough(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.have(0, 1, 2, 3, 4, 5)
    await world.disk.look()

    assert world.runtime.images == {name(i) for i in range(1, 1 + 5)}
    assert world.told == [
        f"removed image {name(0)} (10 B): no deployment of this node needs it; {world_words(90)} before"
    ]


def world_words(used: int) -> str:
    return str(space(used))


async def test_fault_31_a_full_disk_stops_pulls_tells_it_and_recovers_by_itself(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.other = 95
    with pytest.raises(PullFailed, match="it is not pulled, as the disk is nearly full") as refused:
        await world.disk.admit("shop:1")
    assert refused.value.kind == "no_space"
    assert world.disk.pressure is not None

    world.other = 90
    await world.disk.look()
    assert world.disk.pressure is not None

    world.other = 50
    await world.disk.admit("shop:1")
    assert world.disk.pressure is None
    assert [each.split(":")[0] for each in world.told] == [
        "the disk is nearly full",
        "there is room on the disk again",
        "eased",
    ]


async def test_a_pull_makes_room_for_itself_before_it_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, clean_percent=100)
    world.have(0, 1)
    world.other = 75
    await world.disk.admit("shop:1")

    assert len(world.runtime.images) == 1
    assert world.disk.pressure is None


async def test_fault_30_a_pull_that_grows_too_big_is_given_up_with_the_figures(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.disk.look()
    room = world.disk.room("shop:1")
    room(60)

    with pytest.raises(PullFailed, match="61 B more to fetch, and 70 B of 100 B free at /docker, of which 10 B stay"):
        room(61)


async def test_an_engine_elsewhere_has_no_disk_to_watch(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.runtime.root = None
    world.other = 99
    await world.disk.admit("shop:1")
    world.disk.room("shop:1")(10**12)

    assert world.told == []
    assert measure(f"{tmp_path}/none") is None
    assert (found := measure(str(tmp_path))) is not None
    assert 0 < found.free <= found.total


async def test_what_was_pulled_and_for_whom_outlives_the_agent(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.have(1, 2)
    world.records.used("d-web", "shop:1", name(1))
    world.records.used("d-web", "shop:1", name(2))
    world.records.used("d-gone", "other:1", "other:1")
    await world.records.store()

    again = Records(tmp_path / "images.json")
    again.load()
    assert again.kept == world.records.kept
    assert again.kept.releases["d-web"] == (name(2), name(1))
    assert again.kept.digests == {"shop:1": name(2).partition("@")[2]}

    again.follow(NodeDesiredState(node_id=NODE, revision=1, replicas=(replica(),)))
    assert again.kept.releases.keys() == {"d-web"}


@pytest.mark.parametrize("content", ["", "[]", '{"pulled": 7}', '{"releases": {"d": "x"}}', "\x00"])
async def test_a_file_that_cannot_be_read_is_no_harm(tmp_path: Path, content: str) -> None:
    (tmp_path / "images.json").write_text(content)
    records = Records(tmp_path / "images.json")
    records.load()

    assert records.kept == Kept()
    records.pulled(name(1))
    await records.store()
    again = Records(tmp_path / "images.json")
    again.load()
    assert again.kept == replace(Kept(), pulled=frozenset((name(1),)))
