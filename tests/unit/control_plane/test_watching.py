"""What a live view is fed with: everything once, then differences, and never more than that."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from fledx.control_plane.watching import Watching, differences
from fledx.models.node import NodeFacts
from tests.builders import spec
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


async def test_a_watcher_hears_of_everything_once_and_then_of_what_changes(stage: Stage) -> None:
    await stage.node("edge-1")
    web = await stage.deployments.create(spec(), by=ME)
    watching = Watching(stage.store, stage.bell, None, problems=list)
    async with aclosing(watching.follow()) as changes:

        async def take() -> tuple[str, Any]:
            with anyio.fail_after(60):
                return _read(await anext(changes))

        first = [await take() for _ in range(3)]
        assert [kind for kind, _ in first] == ["node", "deployment", "whole"]
        assert (first[0][1]["name"], first[1][1]["name"]) == ("edge-1", "web")

        await stage.deployments.patch("web", {"replicas": 2}, by=ME)
        kind, body = await take()
        assert (kind, body["replicas"]) == ("deployment", 2)
        await stage.deployments.delete("web", by=ME)
        assert await take() == ("gone", {"id": web.deployment_id})


async def test_that_a_node_is_alive_is_no_news(stage: Stage) -> None:
    node = await stage.node("edge-1")
    before = Watching(stage.store, stage.bell, None, problems=list)
    known = stage.store.read(before._look)
    stage.now += 60
    await stage.nodes.connected(node, NodeFacts(name="edge-1"), "198.51.100.7")
    seen = b'{"name":"a","last_seen":"1","x":2}'

    assert differences({"node n": seen}, {"node n": seen.replace(b'"1"', b'"2"')}) == []
    assert differences({"node n": seen}, {"node n": seen.replace(b'"a"', b'"b"')}) != []
    assert [kind for kind, _ in differences(known, {})] == ["gone"]


async def test_what_else_needs_attention_is_told_with_the_rest_and_when_it_changes(stage: Stage) -> None:
    problems = ["certificate shop.example.com ends in 9 days"]
    watching = Watching(stage.store, stage.bell, None, problems=lambda: problems)
    async with aclosing(watching.follow()) as changes:
        with anyio.fail_after(60):
            assert ("problems", {"problems": problems}) == _read(await anext(changes))
            assert ("whole", {}) == _read(await anext(changes))

            problems.clear()
            await stage.node("edge-1")
            assert "node" == _read(await anext(changes))[0]
            assert ("problems", {"problems": []}) == _read(await anext(changes))


def _read(change: tuple[str, bytes]) -> tuple[str, Any]:
    kind, body = change
    return kind, json.loads(body)
