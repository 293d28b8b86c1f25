"""Which bytes a replica runs, and what becomes of it when they cannot be had (fault 30)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fledx.agent.runtime.containers import PullFailed
from fledx.models.desired import NodeDesiredState
from fledx.models.registry import RegistryLogin
from tests.unit.agent.stage import NODE, Stage, replica, running, space

pytestmark = pytest.mark.anyio
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def shop(number: int = 0, **changes: Any) -> Any:
    return replica(number, **{"image": "shop:1", **changes})


def stocked(**given: str) -> Stage:
    """A stage whose registry has shop:1 as ONE, and TWO from before."""
    stage = Stage()
    stage.runtime.digests["shop:1"] = ONE
    stage.runtime.registry = {f"shop@{digest}": None for digest in (ONE, TWO)}
    stage.runtime.given = given
    stage.runtime.images |= set(given)
    return stage


def images(stage: Stage) -> list[str]:
    return [each.image for each in stage.runtime.running()]


async def test_a_tag_is_looked_up_once_and_pulled_by_its_digest() -> None:
    async with running(stocked()) as stage:
        await stage.want(shop(0), shop(1))

        assert images(stage) == [f"shop@{ONE}"] * 2
        assert [each for each in stage.runtime.done if "resolve" in each or "pull" in each] == [
            "resolve shop:1",
            f"pull shop@{ONE}",
        ]


async def test_what_the_control_plane_has_settled_is_pulled_without_asking() -> None:
    async with running(stocked()) as stage:
        await stage.want(shop(digest=TWO))

        assert images(stage) == [f"shop@{TWO}"]
        assert "resolve shop:1" not in stage.runtime.done


async def test_a_node_says_what_it_found_and_runs_what_the_control_plane_answers() -> None:
    stage = stocked()
    stage.linked = True
    async with running(stage):
        await stage.want(shop())
        said = {"type": "resolved", "deployment_id": "d-web", "revision": 1, "digest": ONE}
        assert (stage.said, images(stage)) == ([said], [])

        await stage.want(shop(digest=TWO))
        assert images(stage) == [f"shop@{TWO}"]


async def test_what_is_settled_later_replaces_nothing_that_runs() -> None:
    async with running(stocked()) as stage:
        await stage.want(shop())
        before = stage.runtime.running()

        await stage.want(shop(digest=TWO))

        assert stage.runtime.running() == before


async def test_what_was_found_without_a_link_is_told_when_there_is_one() -> None:
    async with running(stocked()) as stage:
        await stage.want(shop())
        stage.linked = True
        stage.pins.connected()
        assert [each["digest"] for each in stage.said] == [ONE]

        stage.state = NodeDesiredState(node_id=NODE, revision=9, replicas=(shop(digest=ONE),))
        stage.pins.connected()
        assert len(stage.said) == 1


async def test_a_pull_that_is_tried_again_gets_the_same_bytes() -> None:
    stage = stocked()
    stage.runtime.registry[f"shop@{ONE}"] = PullFailed("cut", "image shop:1: the connection broke off")
    async with running(stage):
        await stage.want(shop())
        stage.runtime.digests["shop:1"] = TWO
        stage.runtime.registry[f"shop@{ONE}"] = None
        await stage.wait(2)

        assert images(stage) == [f"shop@{ONE}"]
        assert stage.runtime.done.count("resolve shop:1") == 1


async def test_a_new_revision_looks_the_tag_up_anew() -> None:
    stage = stocked()
    async with running(stage):
        await stage.want(shop())
        stage.runtime.digests["shop:1"] = TWO
        await stage.want(shop(revision=2, restarted_at="now"))

        assert images(stage) == [f"shop@{TWO}"]


async def test_a_crash_asks_no_registry() -> None:
    async with running(stocked()) as stage:
        await stage.want(shop(pull="always", digest=ONE))
        stage.runtime.done.clear()
        stage.runtime.exit(stage.runtime.running()[0].id, 1)
        await stage.wait(2)

        assert images(stage) == [f"shop@{ONE}"]
        assert not [each for each in stage.runtime.done if "resolve" in each or "pull" in each]


async def test_an_image_that_was_loaded_here_is_taken_as_it_is() -> None:
    async with running() as stage:
        await stage.want(replica(0), replica(1, digest=TWO))

        assert images(stage) == ["app:1", "app:1"]
        assert not [each for each in stage.runtime.done if "resolve" in each or "pull" in each]


@pytest.mark.parametrize(
    ("policy", "asked", "found"),
    [("if_not_present", [], TWO), ("always", ["resolve shop:1", f"pull shop@{ONE}"], ONE), ("never", [], None)],
)
async def test_the_policy_says_whether_what_is_here_counts(policy: str, asked: list[str], found: str | None) -> None:
    stage = stocked(**{"shop:1": TWO})
    stage.runtime.images.add(f"shop@{TWO}")
    async with running(stage):
        await stage.want(shop(pull=policy))

        assert [each for each in stage.runtime.done if "resolve" in each or "pull" in each] == asked
        assert images(stage) == ["shop:1" if found is None else f"shop@{found}"]


async def test_never_means_that_what_is_not_here_is_not_run() -> None:
    async with running(stocked()) as stage:
        await stage.want(shop(pull="never"))

        assert "is never pulled" in (stage.instance().message or "")
        assert stage.instance().message is not None
        assert not [each for each in stage.runtime.done if "resolve" in each or "pull" in each]


async def test_an_engine_that_cannot_look_up_learns_the_digest_by_pulling() -> None:
    stage = stocked()
    stage.linked = True
    del stage.runtime.digests["shop:1"]
    stage.runtime.registry["shop:1"] = None
    stage.runtime.given["shop:1"] = TWO
    stage.runtime.images.add(f"shop@{TWO}")
    async with running(stage):
        await stage.want(shop())
        assert [each["digest"] for each in stage.said] == [TWO]

        await stage.want(shop(digest=TWO))
        assert images(stage) == [f"shop@{TWO}"]


async def test_with_the_registry_down_a_new_revision_runs_what_its_tag_stood_for_last() -> None:
    stage = stocked()
    async with running(stage):
        await stage.want(shop())
        stage.runtime.digests["shop:1"] = PullFailed("unreachable", "image shop:1: the registry cannot be reached")
        await stage.want(shop(revision=2, env={"A": "1"}))
        assert images(stage) == [f"shop@{ONE}"]

        await stage.want(shop(revision=3, env={"A": "2"}, pull="always"))
        assert "cannot be reached" in (stage.instance().message or "")


async def test_what_is_gone_from_the_registry_is_told_with_the_way_out() -> None:
    stage = stocked()
    stage.runtime.registry[f"shop@{TWO}"] = PullFailed("not_found", f"image shop@{TWO}: the registry has no such image")
    async with running(stage):
        await stage.want(shop(digest=TWO))

        message = stage.instance().message or ""
        assert "that is what shop:1 stood for when revision 1 was made" in message
        assert "`fledx deployments restart web` asks for shop:1 anew" in message


@pytest.mark.parametrize("kind", ["not_found", "denied", "platform", "no_space", "rate_limited", "unreachable", "cut"])
async def test_fault_30_the_old_one_serves_on_whatever_stands_in_the_way_of_a_pull(kind: str) -> None:
    stage = stocked()
    async with running(stage):
        await stage.want(shop())
        before = stage.runtime.running()
        stage.runtime.digests["shop:2"] = PullFailed(kind, f"image shop:2: {kind}")
        await stage.want(shop(revision=2, image="shop:2"))
        await stage.wait(60)

        assert stage.runtime.running() == before
        assert kind in (stage.instance().message or "")
        assert stage.runtime.done.count("resolve shop:2") <= 7


async def test_fault_30_a_registry_that_names_a_time_is_asked_again_after_it() -> None:
    stage = stocked()
    stage.runtime.digests["shop:1"] = PullFailed("rate_limited", "image shop:1: too many", retry_after=90)
    async with running(stage):
        await stage.want(shop())
        stage.runtime.digests["shop:1"] = ONE
        await stage.wait(89)
        assert stage.runtime.done.count("resolve shop:1") == 1

        await stage.wait(2)
        assert images(stage) == [f"shop@{ONE}"]


async def test_the_login_of_its_registry_goes_with_every_question() -> None:
    stage = stocked()
    login = RegistryLogin(host="docker.io", username="puller", password="pw")
    stage.logins = {"docker.io": login, "other.example.com": replace(login, host="other.example.com")}
    async with running(stage):
        await stage.want(shop())

        assert stage.runtime.logins == [login, login]


async def test_what_was_denied_is_tried_at_once_when_the_way_is_clear() -> None:
    stage = stocked()
    stage.runtime.digests["shop:1"] = PullFailed("denied", "image shop:1: denied")
    async with running(stage):
        await stage.want(shop())
        await stage.wait(120)
        stage.runtime.digests["shop:1"] = ONE
        stage.loop.pull_again("no_space", {("d-web", 0)})
        await stage.settle()
        assert images(stage) == []

        stage.loop.pull_again("denied", {("d-web", 0)})
        await stage.settle()
        assert images(stage) == [f"shop@{ONE}"]


async def test_fault_30_what_does_not_fit_is_not_pulled_and_is_when_there_is_room() -> None:
    stage = stocked()
    stage.runtime.root = "/docker"
    stage.runtime.sizes[f"shop@{ONE}"] = 45
    stage.space = space(50)
    async with running(stage):
        await stage.want(shop())
        assert "is nearly full: 45 B more to fetch" in (stage.instance().message or "")
        assert images(stage) == []

        stage.space = space(95)
        await stage.disk.look()
        assert stage.disk.pressure is not None
        assert stage.reasons("disk")[-1].startswith("the disk is nearly full")
        await stage.wait(70)

        stage.space = space(10)
        await stage.disk.look()
        await stage.settle()
        assert stage.disk.pressure is None
        assert images(stage) == [f"shop@{ONE}"]
