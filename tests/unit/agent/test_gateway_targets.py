"""Which way to an endpoint is taken, and which endpoints Envoy is told of."""

from __future__ import annotations

from dataclasses import replace

from fledx.agent.ingress.envoy_config.shapes import Served, Target
from fledx.agent.ingress.targets import Sight, reached, served, socket_name, with_endpoints, with_leaving
from fledx.models.ingress import Backend, Endpoint, GatewayDesired
from tests.unit.agent.gateways import backend, endpoint, route


class World:
    """What a node knows, to be changed by a test."""

    def __init__(self) -> None:
        self.here: dict[int, tuple[str, int]] = {}
        self.open: dict[int, tuple[str, int]] = {}
        self.refusing: set[str] = set()

    def targets(self, *endpoints: Endpoint) -> tuple[Target, ...]:
        """What Envoy is told of these."""
        desired = GatewayDesired(routes=(route(),), backends=(backend(*endpoints),))
        (cluster,) = served(desired, reached(desired, self.sight())).clusters
        return cluster.targets

    def ways(self, *endpoints: Endpoint) -> list[str]:
        """How they are reached."""
        return [each.way for each in reached(GatewayDesired(backends=(backend(*endpoints),)), self.sight())]

    def sight(self) -> Sight:
        """As the decision sees it."""
        return Sight(
            node_id="me",
            local=lambda _, each: self.here.get(each.replica_number),
            direct=lambda each: self.open.get(each.replica_number),
            refused=lambda name: name in self.refusing,
        )


def name_of(each: Endpoint, of: Backend | None = None) -> str:
    return socket_name(of or backend(each), each)


def test_an_instance_of_this_node_is_addressed_itself_and_others_by_a_socket() -> None:
    world = World()
    world.here[0] = ("172.17.0.2", 8080)
    own, far = endpoint(0, node_id="me"), endpoint(1)
    assert (Target(address="172.17.0.2", port=8080), Target(address=name_of(far))) == world.targets(own, far)
    assert ["local", "tunnel"] == world.ways(own, far)


def test_an_address_elsewhere_counts_only_when_it_was_found_to_answer() -> None:
    world, far = World(), endpoint(addresses=("10.0.0.5:8080",))
    assert ["tunnel"] == world.ways(far)
    world.open[0] = ("10.0.0.5", 8080)
    assert ["direct"] == world.ways(far)
    assert (Target(address="10.0.0.5", port=8080),) == world.targets(far)


def test_an_instance_of_this_node_that_does_not_run_is_no_endpoint() -> None:
    assert () == World().targets(endpoint(node_id="me"))


def test_who_refuses_is_left_out_as_long_as_another_serves() -> None:
    world, one, other = World(), endpoint(0), endpoint(1)
    world.refusing.add(name_of(one))
    assert (Target(address=name_of(other)),) == world.targets(one, other)
    world.refusing.add(name_of(other))
    assert {name_of(one), name_of(other)} == {each.address for each in world.targets(one, other)}
    leaving = replace(other, draining=True)
    world.refusing.discard(name_of(other))
    assert {name_of(one), name_of(other)} == {each.address for each in world.targets(one, leaving)}


def test_the_old_and_the_new_container_of_a_replica_have_sockets_of_their_own() -> None:
    old, new = endpoint(draining=True), endpoint(template="t2")
    assert {True, False} == {each.draining for each in World().targets(old, new)}
    assert name_of(old) != name_of(new) != name_of(replace(new, fence=2))


def test_one_address_is_told_once_and_not_as_draining_if_it_serves_again() -> None:
    world = World()
    world.here[0] = ("127.0.0.1", 8080)
    told = world.targets(endpoint(node_id="me", draining=True), endpoint(node_id="me", template="t2"))
    assert (Target(address="127.0.0.1", port=8080),) == told


def test_of_a_refused_state_only_the_endpoints_of_known_clusters_are_taken_over() -> None:
    desired = GatewayDesired(routes=(route(),), backends=(backend(endpoint(0)),))
    sight = World().sight()
    accepted = served(desired, reached(desired, sight))
    moved = replace(
        desired,
        routes=(route("/new"),),
        backends=(backend(endpoint(1)), backend(endpoint(2), name="d-new-1")),
    )
    mixed = with_endpoints(accepted, served(moved, reached(moved, sight)))
    assert accepted.routes == mixed.routes
    assert [(accepted.clusters[0].name, (Target(address=name_of(endpoint(1))),))] == [
        (each.name, each.targets) for each in mixed.clusters
    ]


def test_a_cluster_that_leaves_stays_until_nothing_names_it() -> None:
    desired = GatewayDesired(routes=(route(),), backends=(backend(endpoint(0)),))
    before = served(desired, reached(desired, World().sight()))
    assert before.clusters == with_leaving(Served(), before.clusters).clusters
    assert before == with_leaving(before, before.clusters)
