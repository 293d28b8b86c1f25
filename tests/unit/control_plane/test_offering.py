"""What gateways are told: worked out with every change, drained and held as it must be, cheap otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fledx.control_plane.ingress.gateways import RETURN_SECONDS
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.store import parts
from fledx.models.codec import decode_lenient, encode
from fledx.models.desired import NodeDesiredState
from fledx.models.ingress import Backend, Drained, Endpoint, GatewayDesired, GatewayFacts, GatewayStatus, IngressRule
from fledx.models.instance import Instance
from fledx.models.port import PortMapping
from tests.builders import NOW, facts, spec
from tests.unit.control_plane.conftest import ME, Stage, cordon

pytestmark = pytest.mark.anyio
GATEWAY = GatewayFacts(http_port=80)
SHOP: dict[str, Any] = {
    "name": "shop",
    "ports": (PortMapping(container_port=80),),
    "ingress": (IngressRule(host="shop.example.com"),),
}


async def gateway(stage: Stage, name: str = "gate") -> str:
    """A gateway that is connected; it takes no replicas."""
    node = await stage.node(name, gateway=GATEWAY)
    await stage.act(lambda tx: cordon(tx, node))
    stage.gateways.enter(node)
    return node


def served(stage: Stage, node: str) -> GatewayDesired:
    found = stage.desired(node).gateway
    assert found is not None
    return found


def endpoints(stage: Stage, node: str) -> dict[tuple[str, int], Endpoint]:
    """By owner and replica number, of the only backend."""
    (backend,) = served(stage, node).backends
    return {(each.node_id, each.replica_number): each for each in backend.endpoints}


async def caught_up(stage: Stage, node: str, *, drained: bool = True, **changes: Any) -> None:
    """A gateway has taken over its newest state, and finished what it had at those that drain."""
    state = stage.desired(node)
    found = served(stage, node)
    done = tuple(
        Drained(backend=backend.name, replica_number=each.replica_number, fence=each.fence, template=each.template)
        for backend in found.backends
        for each in backend.endpoints
        if each.draining and drained
    )
    status = GatewayStatus(**{"state": "serving", "revision": state.revision, "drained": done, **changes})
    stage.gateways.tell(node, status)
    await stage.draining.look()


def held(stage: Stage, node: str) -> set[int]:
    return {each.replica_number for each in stage.desired(node).held}


async def shop(stage: Stage, *, replicas: int = 2, **changes: Any) -> tuple[str, str, str]:
    """A gateway and two nodes with the shop running; their ids."""
    gate = await gateway(stage)
    one, two = await stage.node("edge-1"), await stage.node("edge-2")
    await stage.deployments.create(spec(**{**SHOP, "replicas": replicas, **changes}), by=ME)
    for node in (one, two):
        await stage.runs(node)
    await caught_up(stage, gate)
    return gate, one, two


async def test_a_gateway_is_told_routes_backends_and_only_the_ready_ones(stage: Stage) -> None:
    gate = await gateway(stage)
    node = await stage.node("edge-1", public_host="edge-1.example.com")
    rules = (IngressRule(host="shop.example.com", timeout_seconds=5.0, rewrite="/x"), IngressRule(host="b.eu", port=9))
    made = await stage.deployments.create(spec(**{**SHOP, "ingress": rules}), by=ME)
    assert served(stage, gate).backends[0].endpoints == ()

    await stage.runs(node)

    found = served(stage, gate)
    names = [f"{made.deployment_id}-80", f"{made.deployment_id}-9"]
    assert [(each.host, each.backend, each.rewrite) for each in found.routes] == [
        ("shop.example.com", names[0], "/x"),
        ("b.eu", names[1], None),
    ]
    assert [(each.name, each.port, each.protocol) for each in found.backends] == [
        (names[0], 80, "http"),
        (names[1], 9, "http"),
    ]
    (endpoint,) = found.backends[0].endpoints
    assert endpoint.addresses == ("edge-1.example.com:80", "198.51.100.7:80")
    assert found.backends[1].endpoints[0].addresses == ()
    replica = stage.desired(node).replicas[0]
    assert (endpoint.node_id, endpoint.template, endpoint.fence) == (node, replica.template, replica.fence)


async def test_only_gateways_are_told_anything_fault_23(stage: Stage) -> None:
    _, one, _ = await shop(stage)
    assert stage.desired(one).gateway is None


async def test_what_a_gateway_is_to_serve_travels_whole(stage: Stage) -> None:
    gate, _, _ = await shop(stage)
    state = stage.desired(gate)
    assert state == decode_lenient(NodeDesiredState, encode(state))


async def test_the_revision_rises_when_what_is_served_changes_and_only_then(stage: Stage) -> None:
    gate, one, _ = await shop(stage)
    before = stage.desired(gate).revision

    await stage.deployments.create(spec(name="plain"), by=ME)
    await stage.runs(one)
    await stage.deployments.patch("plain", {"labels": {"a": "b"}}, by=ME)
    assert stage.desired(gate).revision == before

    await stage.deployments.patch("shop", {"ingress": [{"host": "other.example.com"}]}, by=ME)
    after = stage.desired(gate)
    assert after.revision > before
    assert [route.host for route in served(stage, gate).routes] == ["other.example.com"]
    assert gate in stage.told[-1]


async def test_a_node_that_becomes_a_gateway_is_told_all_of_it(stage: Stage) -> None:
    node = await stage.node("edge-1")
    await stage.deployments.create(spec(**SHOP), by=ME)
    await stage.runs(node)
    before = stage.desired(node)

    await stage.nodes.connected(node, facts(name="edge-1", gateway=GATEWAY), "198.51.100.7")

    assert before.gateway is None
    assert stage.desired(node).revision > before.revision
    assert len(endpoints(stage, node)) == 1


async def test_one_that_is_not_ready_any_more_or_whose_node_is_away_is_out(stage: Stage) -> None:
    gate, one, two = await shop(stage)
    running = stage.store.read(lambda sql: _instances(sql, one))
    await stage.report(one, *[replace(each, ready=False) for each in running])
    assert set(endpoints(stage, gate)) == {(two, 1)}

    await stage.act(lambda tx: _status(tx, two, "unreachable"))
    assert endpoints(stage, gate) == {}

    await stage.act(lambda tx: _status(tx, two, "ready"))
    assert set(endpoints(stage, gate)) == {(two, 1)}


def _instances(sql: Any, node: str) -> list[Instance]:
    from fledx.control_plane.store import instances

    return instances.of_node(sql, node)


def _status(tx: Any, node: str, status: str) -> None:
    from fledx.control_plane.nodes import change_status

    change_status(tx, node, status, None)


async def test_an_update_in_place_is_held_until_the_gateway_is_done(stage: Stage) -> None:
    gate, one, two = await shop(stage)
    rollouts = Rollouts(stage.store, stage.changes, monotonic=lambda: stage.now)
    await rollouts.look()
    await stage.deployments.patch("shop", {"env": {"A": "2"}}, by=ME)
    for _ in range(3):
        stage.now += 1
        await rollouts.look()

    changing = one if held(stage, one) else two
    other = two if changing == one else one
    assert [held(stage, other), len(held(stage, changing))] == [set(), 1]
    assert [each.draining for key, each in endpoints(stage, gate).items() if key[0] == changing] == [True]

    await caught_up(stage, gate, drained=False)
    assert held(stage, changing)
    await caught_up(stage, gate)
    assert not held(stage, changing)
    assert [key[0] for key in endpoints(stage, gate)] == [other]

    await stage.runs(changing)
    assert {key[0] for key in endpoints(stage, gate)} == {one, two}


async def test_an_update_of_the_only_replica_starts_the_new_one_first_and_never_leaves_gateways_without(
    stage: Stage,
) -> None:
    gate, one, two = await shop(stage, replicas=1)
    rollouts = Rollouts(stage.store, stage.changes, monotonic=lambda: stage.now)
    await rollouts.look()
    await stage.deployments.patch("shop", {"env": {"A": "2"}}, by=ME)
    for _ in range(60):
        stage.now += 1
        await rollouts.look()
        for node in (one, two):
            if not held(stage, node):
                await stage.runs(node)
        assert any(not each.draining for each in endpoints(stage, gate).values())
        await caught_up(stage, gate)

    now = stage.deployments.get("shop")
    assert now.rollout is not None
    assert now.rollout.state == "complete"
    assert [given.revision for given in now.assignments] == [2]
    assert len(endpoints(stage, gate)) == 1


async def test_an_update_of_the_only_replica_where_it_runs_has_gateways_await_the_new_one(stage: Stage) -> None:
    gate, one, two = await shop(stage, replicas=1, ports=(PortMapping(container_port=80, host_port=8080),))
    (was,) = {key[0] for key in endpoints(stage, gate)}
    await stage.act(lambda tx: cordon(tx, two if was == one else one))
    rollouts = Rollouts(stage.store, stage.changes, monotonic=lambda: stage.now)
    await rollouts.look()
    assert not served(stage, gate).backends[0].awaited
    await stage.deployments.patch("shop", {"env": {"A": "2"}}, by=ME)
    for _ in range(20):
        stage.now += 1
        await rollouts.look()
        await caught_up(stage, gate)
        if not endpoints(stage, gate):
            break
    assert [((), True)] == [(each.endpoints, each.awaited) for each in served(stage, gate).backends]
    await stage.runs(was)
    await rollouts.look()
    assert [(1, False)] == [(len(each.endpoints), each.awaited) for each in served(stage, gate).backends]


async def test_nobody_is_awaited_where_nobody_is_to_come(stage: Stage) -> None:
    gate, _, _ = await shop(stage)
    await stage.deployments.patch("shop", {"desired_state": "stopped"}, by=ME)
    assert [False] == [each.awaited for each in served(stage, gate).backends]
    await caught_up(stage, gate)
    assert [False] == [each.awaited for each in served(stage, gate).backends]


@pytest.mark.parametrize("end", ["scale", "stop", "delete"])
async def test_whoever_is_not_wanted_any_more_is_drained_first(stage: Stage, end: str) -> None:
    gate, one, two = await shop(stage)
    if end == "delete":
        await stage.deployments.delete("shop", by=ME)
    else:
        change = {"replicas": 1} if end == "scale" else {"desired_state": "stopped"}
        await stage.deployments.patch("shop", change, by=ME)
    gone = [two] if end == "scale" else [one, two]

    assert [node for node in (one, two) if held(stage, node)] == gone
    found = endpoints(stage, gate)
    assert sorted(key[0] for key, each in found.items() if each.draining) == sorted(gone)
    assert bool(served(stage, gate).routes) == (end != "delete")

    await caught_up(stage, gate)
    assert [node for node in (one, two) if held(stage, node)] == []
    left = {
        key[0] for backend in served(stage, gate).backends for key in [(each.node_id,) for each in backend.endpoints]
    }
    assert left == ({one} if end == "scale" else set())
    assert bool(served(stage, gate).backends) == (end != "delete")


async def test_a_move_keeps_the_old_one_serving_until_the_new_one_does(stage: Stage) -> None:
    gate, one, two = await shop(stage, replicas=1)
    (was,) = {key[0] for key in endpoints(stage, gate)}
    to = two if was == one else one
    await stage.act(lambda tx: _move(tx, was))
    assert [held(stage, was), held(stage, to)] == [{0}, set()]
    assert [each.draining for each in endpoints(stage, gate).values()] == [False]

    await stage.runs(to)
    assert sorted(endpoints(stage, gate)) == sorted([(was, 0), (to, 0)])
    assert not any(each.draining for each in endpoints(stage, gate).values())
    await caught_up(stage, gate)
    assert endpoints(stage, gate)[was, 0].draining
    await caught_up(stage, gate)
    assert set(endpoints(stage, gate)) == {(to, 0)}
    assert held(stage, was) == set()


def _move(tx: Any, node: str) -> None:
    from fledx.control_plane.replicas.moving import move
    from fledx.control_plane.store import assignments, deployments

    cordon(tx, node)
    for deployment_id, given in assignments.of_node(tx.sql, node):
        stored = deployments.by_id(tx.sql, deployment_id)
        assert stored is not None
        assert move(tx, stored, given, why="a test") is None


async def test_a_gateway_that_is_away_or_failed_holds_nothing_up(stage: Stage) -> None:
    gate, one, two = await shop(stage)
    stage.now += RETURN_SECONDS
    stage.gateways.leave(gate)
    await stage.deployments.patch("shop", {"replicas": 1}, by=ME)
    assert (held(stage, one), held(stage, two)) == (set(), set())

    await stage.deployments.patch("shop", {"replicas": 2}, by=ME)
    await stage.runs(two)
    stage.gateways.enter(gate)
    await caught_up(stage, gate, state="failed", reason="no image")
    await stage.deployments.patch("shop", {"replicas": 1}, by=ME)
    assert (held(stage, one), held(stage, two)) == (set(), set())


async def test_the_grace_ends_a_hold_that_no_gateway_ends(stage: Stage) -> None:
    gate, _, two = await shop(stage)
    await stage.deployments.patch("shop", {"replicas": 1}, by=ME)
    stage.now += 9
    await stage.draining.look()
    assert held(stage, two) == {1}
    stage.now += 1
    await stage.draining.look()
    assert held(stage, two) == set()
    assert len(endpoints(stage, gate)) == 1


async def test_a_control_plane_that_restarts_in_the_middle_goes_on_where_it_was(stage: Stage) -> None:
    from fledx.control_plane.ingress.gateways import Gateways
    from fledx.control_plane.loops.draining import Draining

    gate, _, two = await shop(stage)
    await stage.deployments.patch("shop", {"replicas": 1}, by=ME)
    stage.gateways = Gateways(lambda: stage.now)
    stage.draining = Draining(stage.store, stage.changes, stage.gateways, grace=10.0)
    stage.now += 3
    await stage.draining.look()
    assert held(stage, two) == {1}, "its gateways are on their way back"

    stage.gateways.enter(gate)
    await caught_up(stage, gate)
    assert held(stage, two) == set()


async def test_a_refusal_of_the_newest_keeps_the_old_one_where_it_is_the_last(stage: Stage) -> None:
    gate, one, two = await shop(stage, replicas=1)
    (was,) = {key[0] for key in endpoints(stage, gate)}
    await caught_up(stage, gate, refused="a bad certificate", revision=1)
    await stage.act(lambda tx: _move(tx, was))
    await stage.runs(two if was == one else one)
    stage.now += 30
    await stage.draining.look()
    assert held(stage, was) == {0}
    assert not endpoints(stage, gate)[was, 0].draining


async def test_two_gateways_are_both_waited_for(stage: Stage) -> None:
    gate, _, two = await shop(stage)
    second = await gateway(stage, "gate-2")
    await caught_up(stage, second)
    await stage.deployments.patch("shop", {"replicas": 1}, by=ME)
    await caught_up(stage, gate)
    assert held(stage, two) == {1}
    await caught_up(stage, second)
    assert held(stage, two) == set()


async def test_gateways_are_found_among_thousands_of_nodes_by_their_index(stage: Stage) -> None:
    await gateway(stage)
    plans: list[str] = []

    def look(sql: Any) -> None:
        asked: list[str] = []
        sql.set_trace_callback(asked.append)
        assert [row["name"] for row in parts.gateways(sql)] == ["gate"]
        sql.set_trace_callback(None)
        plans.extend(row[3] for row in sql.execute(f"EXPLAIN QUERY PLAN {asked[0]}"))

    stage.store.read(look)
    assert plans[0] == "SCAN node USING INDEX node_gateway"


async def test_what_does_not_concern_gateways_leaves_nothing_behind(stage: Stage) -> None:
    gate, _, _ = await shop(stage)
    await stage.deployments.patch("shop", {"ingress": []}, by=ME)
    assert served(stage, gate) == GatewayDesired()
    assert stage.store.read(_parts) == []


def _parts(sql: Any) -> list[Any]:
    return parts.everything(sql)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "localhost", "0.0.0.0", "224.0.0.1", "LOCALHOST.", "a/b", "a b"],
)
async def test_no_node_has_gateways_connect_to_their_own_machine_or_metadata_fault_43(stage: Stage, host: str) -> None:
    gate = await gateway(stage)
    node = await stage.node("edge-1", public_ip=host, public_host=host)
    await stage.deployments.create(spec(**SHOP), by=ME)
    await stage.runs(node)
    assert endpoints(stage, gate)[node, 0].addresses == ("198.51.100.7:80",)


async def test_what_a_gateway_serves_is_read_without_looking_at_a_thousand_deployments(stage: Stage) -> None:
    gate = await gateway(stage)
    node = await stage.node("edge-1")
    rules = [IngressRule(host=f"h{number}.example.com", port=80) for number in range(1000)]
    await stage.act(lambda tx: _insert_all(tx, rules, node))

    asked: list[str] = []
    found = stage.store.read(lambda sql: _traced(sql, asked, gate, stage.seal)).gateway
    assert (len(found.routes), sum(len(each.endpoints) for each in found.backends)) == (1000, 1000)
    assert len(asked) < 10

    before = stage.desired(gate).revision
    await stage.act(lambda tx: tx.touched.update(f"id-{number:04d}" for number in range(1000)))
    assert stage.desired(gate).revision == before


def _traced(sql: Any, asked: list[str], node: str, seal: Any) -> Any:
    from fledx.control_plane.desired import desired_state

    sql.set_trace_callback(asked.append)
    try:
        return desired_state(sql, node, seal)
    finally:
        sql.set_trace_callback(None)


def _insert_all(tx: Any, rules: list[IngressRule], node: str) -> None:
    for number, rule in enumerate(rules):
        _insert(tx, number, rule, node)


def _insert(tx: Any, number: int, rule: IngressRule, node: str) -> None:
    from fledx.control_plane.store import assignments, claims, deployments, instances
    from tests.builders import assignment

    made = spec(name=f"d{number}", ingress=(rule,))
    deployments.insert(tx.sql, f"id-{number:04d}", made, "me", NOW)
    claims.put(tx.sql, f"id-{number:04d}", (rule,))
    assignments.put(tx.sql, f"id-{number:04d}", assignment(node_id=node))
    ready = Instance(
        deployment_id=f"id-{number:04d}",
        replica_number=0,
        state="running",
        ready=True,
        fence=1,
        revision=1,
        template="t",
        node_id=node,
        last_updated=NOW,
    )
    instances.store(tx.sql, node, [ready], tx.now)
    tx.touched.add(f"id-{number:04d}")


def test_backends_of_one_deployment_are_told_apart_by_their_port() -> None:
    from fledx.control_plane.ingress.part import Part

    found: tuple[Backend, ...] = Part(deployment="shop", ports={"80": "http", "81": "h2c"}).backends("d")
    assert [(each.name, each.protocol) for each in found] == [("d-80", "http"), ("d-81", "h2c")]
