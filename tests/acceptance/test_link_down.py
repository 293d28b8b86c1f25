"""A node whose cable is pulled, on engines with a network of their own each: shown, moved, healed, one owner."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.edge import Edge
from tests.acceptance.test_main_job import running
from tests.bed.engines import Engines
from tests.waiting import eventually, in_time

pytestmark = [pytest.mark.bed, pytest.mark.docker, pytest.mark.slow]


def test_fault_9_a_node_whose_link_goes_down_is_shown_replaced_healed_and_fenced_in_that_order(
    engines: Engines, pyz: Path, tmp_path: Path
) -> None:
    """Stale after 10 s: the replacement runs within 15 s of the cut, by the events' own clock; one copy is left."""
    with Edge(pyz, tmp_path, engines) as edge:
        edge.control_plane.environ["FLEDX_CP_REACHABILITY_HEARTBEAT_STALE_SECS"] = "10"
        edge.start("e1", "e2")
        edge.deploy("web")

        def replaced() -> float:
            (owner,) = edge.deployment("web")["assignments"]
            before = edge.processes("web")
            net = engines[owner["node"]].net
            net.unplug()
            began = time.monotonic()
            try:
                eventually(lambda: len(edge.processes("web")) == 2)
                took = time.monotonic() - began
                assert before.items() <= edge.processes("web").items(), "cut off, the old copy runs on"
                assert running(edge, "web", 1)["assignments"][0]["node"] != owner["node"]
            finally:
                net.plug()
            eventually(lambda: len(edge.processes("web")) == 1, within=120)
            eventually(lambda: edge.ready_nodes() == 2, within=120)
            now = running(edge, "web", 1)
            assert now["assignments"][0]["fence"] > owner["fence"]
            assert not before.items() <= edge.processes("web").items(), "the new owner's copy is the one that is left"
            return took

        took = in_time(replaced, 15.5)
        assert took <= 15.5, f"the replacement ran after {took:.1f} s"
        order = ["node.unreachable", "replica.moved", "node.ready", "replica.stop"]
        told = [eventually(lambda kind=kind: edge.events(kind))[-1] for kind in order]  # type: ignore[misc]
        assert [each["id"] for each in told] == sorted(each["id"] for each in told), [each["kind"] for each in told]
        assert all(each["reason"] for each in told)
