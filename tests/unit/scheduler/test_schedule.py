"""What a plan looks like: where replicas go, what they get, and what is said of those left over."""

from __future__ import annotations

import pytest

from fledx.control_plane.scheduler.board import Board
from fledx.control_plane.scheduler.place import view_of
from fledx.control_plane.scheduler.ports import Want
from fledx.control_plane.scheduler.schedule import schedule
from fledx.control_plane.scheduler.spec import (
    Peer,
    Preference,
    Spec,
    Spread,
    assignment_of,
    mappings_of,
    placed_of,
    spec_of,
)
from fledx.models.assignment import Assignment
from fledx.models.deployment import DeploymentSpec
from fledx.models.node import Capacity, Node
from fledx.models.placement import PACK, Affinity, Constraints, Placement
from fledx.models.port import PortMapping
from tests.unit.scheduler.builders import GIB, MIB, hosts, node, nodes, spec, where


def test_replicas_go_to_the_least_loaded_nodes_and_ties_go_by_name() -> None:
    board = Board(nodes("c", "a", "b"))
    busy = spec("busy", rules=(), cpu=1000, preferences=(Preference(weight=1, nodes=frozenset({"a"})),))
    board.apply(busy, schedule(board, busy, [0]).placed)
    assert where(schedule(board, spec(), range(4))) == {0: "b", 1: "c", 2: "a", 3: "b"}


def test_several_replicas_share_a_node_when_there_are_not_enough() -> None:
    assert where(schedule(Board(nodes("a")), spec(), range(3))) == {0: "a", 1: "a", 2: "a"}


def test_packing_fills_one_node_before_it_begins_the_next() -> None:
    board = Board([node("a", cpu=1000), node("b", cpu=1000)])
    plan = schedule(board, spec(strategy=PACK, spread=None, cpu=400), range(4))
    assert where(plan) == {0: "a", 1: "a", 2: "b", 3: "b"}


def test_a_liked_node_comes_first_and_an_avoided_one_last() -> None:
    liked = Preference(weight=1, nodes=frozenset({"c"}))
    avoided = Preference(weight=-2, labels=(("disk", "hdd"),))
    board = Board([node("a", labels={"disk": "hdd"}), node("b"), node("c", cpu=150)])
    plan = schedule(board, spec(preferences=(liked, avoided), cpu=100), range(3))
    assert where(plan) == {0: "c", 1: "b", 2: "b"}
    only = Board([node("a", labels={"disk": "hdd"})])
    assert where(schedule(only, spec(preferences=(avoided,)), [0])) == {0: "a"}


def test_one_deployment_likes_to_be_where_another_is() -> None:
    board = Board(nodes("a", "b", "c"))
    board.apply(spec("db"), schedule(board, spec("db", rules=()), [0, 1]).placed[1:])
    assert where(schedule(board, spec(favours=(("id-db", 5),)), [0])) == {0: "b"}
    assert where(schedule(board, spec(favours=(("id-db", -5),)), range(3))) == {0: "a", 1: "c", 2: "a"}


def test_one_deployment_must_be_where_another_is() -> None:
    board = Board([node("a"), node("b", cpu=500)])
    db = spec("db", preferences=(Preference(weight=1, nodes=frozenset({"b"})),))
    board.apply(db, schedule(board, db, [0]).placed)
    plan = schedule(board, spec(near=(Peer("id-db", "db"),), cpu=300), [0, 1])
    assert where(plan) == {0: "b"}
    assert plan.reasons == {1: "1 node: 300m CPU requested, 200m left (b); 1 node: db is not there (a)"}


def test_replicas_spread_over_the_values_of_a_label() -> None:
    fleet = [node(f"n{i}", labels={"zone": "abc"[min(i, 2)]}) for i in range(9)]
    plan = schedule(Board(fleet), spec(spread=Spread("zone")), range(6))
    zones = ["abc"[min(int(name[1:]), 2)] for name in where(plan).values()]
    assert [zones.count(zone) for zone in "abc"] == [2, 2, 2]


def test_requests_are_subtracted_from_what_a_node_has() -> None:
    board = Board([node("a", cpu=1000, memory=GIB), node("b", cpu=1000, memory=GIB)])
    plan = schedule(board, spec(cpu=400, memory=300 * MIB), range(5))
    assert len(plan.placed) == 4
    assert plan.reasons == {4: "2 nodes: 400m CPU requested, at most 200m left (a, b)"}


def test_nothing_can_be_requested_of_a_node_whose_capacity_is_not_known() -> None:
    board = Board([node("a", cpu=0, memory=0)])
    assert where(schedule(board, spec(), [0])) == {0: "a"}
    assert schedule(board, spec(cpu=1), [0]).reasons == {0: "1 node: CPU capacity not known (a)"}
    assert schedule(board, spec(memory=1), [0]).reasons == {0: "1 node: memory capacity not known (a)"}


def test_fixed_ports_allow_one_replica_a_node() -> None:
    plan = schedule(Board(nodes("a", "b")), spec(ports=("8080:80", "53:53/udp")), range(3))
    assert where(plan) == {0: "a", 1: "b"}
    assert hosts(plan) == {0: [8080, 53], 1: [8080, 53]}


def test_ports_collide_on_every_address_or_the_same_one_and_within_a_protocol() -> None:
    board = Board(nodes("a"))
    want = spec(ports=("80:80",)).wants[0]

    def asked(name: str, want: Want) -> Spec:
        return Spec(deployment=f"id-{name}", name=name, wants=(want,))

    holder = asked("web", want._replace(address="10.0.0.1"))
    board.apply(holder, schedule(board, holder, [0]).placed)
    for wanted, free in {
        want: False,
        want._replace(address="10.0.0.1"): False,
        want._replace(address="10.0.0.2"): True,
        want._replace(protocol="udp"): True,
        want._replace(host=81): True,
    }.items():
        assert free is bool(schedule(board, asked("other", wanted), [0]).placed)


def test_a_spec_that_wants_one_port_twice_fits_nowhere_and_says_so() -> None:
    plan = schedule(Board(nodes("a")), spec(ports=("80:80", "80:8080")), [0])
    assert plan.reasons == {0: "1 node: port 80 taken by its own replica (a)"}


def test_without_automatic_ports_a_port_without_a_number_is_a_reason() -> None:
    plan = schedule(Board(nodes("a"), ports=None), spec(ports=("80",)), [0])
    assert plan.reasons == {0: "1 node: port 80 has no host port and none is chosen automatically (a)"}


def test_a_replica_goes_where_its_volume_is_or_nowhere() -> None:
    board = Board([node("a"), node("b", cpu=100), node("c", availability="cordoned")])
    bound = {0: "id-b", 1: "id-b", 2: "id-c", 3: "id-x"}
    plan = schedule(board, spec(cpu=60), range(5), bound=bound)
    assert where(plan) == {0: "b", 4: "a"}
    assert plan.left == (1, 2, 3)
    assert plan.reasons == {
        1: "its volume data lies on node b: 60m CPU requested, 40m left",
        2: "its volume data lies on node c: cordoned",
        3: "its volume data lies on node id-x, which is gone",
    }


def test_planning_changes_nothing() -> None:
    board = Board(nodes("a", "b"))
    before = board.version
    assert schedule(board, spec(), range(3)) == schedule(board, spec(), range(3))
    assert before == board.version
    assert all(not place.held for place in board.places)


def test_an_empty_fleet_and_an_empty_wish_are_answered() -> None:
    assert schedule(Board(), spec(), [0]).reasons == {0: "there are no nodes"}
    assert schedule(Board(nodes("a")), spec(), []) == ((), (), {})


def test_pending_replicas_are_told_as_the_api_shows_them() -> None:
    (pending,) = schedule(Board(), spec(), [7]).pending
    assert (pending.replica_number, pending.reason) == (7, "there are no nodes")


def test_a_deployments_spec_is_read_whole() -> None:
    text = DeploymentSpec(
        image="web:1",
        ports=(
            PortMapping(container_port=80, expose=True),
            PortMapping(container_port=53, host_port=53, protocol="udp"),
        ),
        constraints=Constraints(
            arch="x86_64",
            os="Linux",
            labels={"zone": "a"},
            rules=("disk in (ssd, nvme)", "!old"),
            capacity=Capacity(cpu_millis=250, memory_bytes=64 * MIB),
            requires_public_ip=True,
        ),
        placement=Placement(affinity=Affinity(node_ids=("edge-1",)), anti_affinity=Affinity(labels={"noisy": "yes"})),
    )
    found = spec_of("d1", text)
    labels = {"zone": "a", "disk": "nvme"}
    fleet = [
        node("ok", labels=labels, public_ip=True),
        node("edge-1", labels=labels, public_ip=True, cpu=250),
        node("noisy", labels={**labels, "noisy": "yes"}, public_ip=True),
        node("arm", labels=labels, public_ip=True, arch="arm64"),
        node("private", labels=labels),
        node("old", labels={**labels, "old": ""}, public_ip=True),
        node("hdd", labels={**labels, "disk": "hdd"}, public_ip=True),
    ]
    plan = schedule(Board(fleet), found, range(4))
    assert where(plan) == {0: "edge-1", 1: "ok", 2: "noisy"}
    assert hosts(plan)[0] == [80, 53]
    assert plan.reasons[3].startswith("2 nodes: port 53/udp taken by its own replica (noisy, ok); ")


def test_a_node_is_read_with_its_one_name_of_an_architecture() -> None:
    view = view_of(
        Node(
            node_id="n1",
            name="edge-1",
            status="ready",
            since="2026-01-01T00:00:00Z",
            arch="x86_64",
            os="Linux",
            labels={},
            capacity=Capacity(cpu_millis=1000),
            created_at="2026-01-01T00:00:00Z",
        )
    )
    assert (view.arch, view.os, view.cpu, view.memory, view.public_ip) == ("amd64", "linux", 1000, 0, False)


def test_assignments_are_made_from_a_plan_and_booked_from_the_store() -> None:
    ports = (PortMapping(container_port=80, expose=True), PortMapping(container_port=53, host_port=53, protocol="udp"))
    one = spec_of("d1", DeploymentSpec(image="web:1", ports=ports))
    board = Board(nodes("a"))
    (placed,) = schedule(board, one, [0]).placed
    stored = assignment_of(placed, ports, node="a", fence=3, revision=2)
    assert tuple(port.host_port for port in stored.ports) == (80, 53)
    assert stored.ports[0].expose
    assert placed == placed_of(one, stored)
    assert mappings_of(ports, placed) == stored.ports


def test_an_assignment_without_numbers_is_booked_without_ports() -> None:
    old = Assignment(replica_number=0, node_id="id-a", ports=(PortMapping(container_port=80),))
    assert placed_of(spec(), old).ports == ()


def test_a_shape_and_a_spread_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="domain"):
        Spec(deployment="d", name="d", spread=Spread("zone"))
