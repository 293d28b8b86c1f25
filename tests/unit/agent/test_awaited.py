"""Requests wait where nobody serves and somebody is to come, for a while."""

from __future__ import annotations

from fledx.agent.ingress.awaited import AWAITED_SECS, PARTING_SECS, Awaited
from fledx.agent.ingress.envoy_config.shapes import Target
from fledx.agent.ingress.targets import NOBODY, Reached, served
from fledx.models.ingress import Backend, Endpoint, GatewayDesired
from tests.unit.agent.gateways import SHOP, backend, endpoint

HERE = Target(address="172.17.0.2", port=8080)


def way(to: Endpoint, target: Target | None = HERE) -> Reached:
    return Reached(backend=backend(to), endpoint=to, way="local", target=target)


def look(waiting: Awaited, what: Backend, *ways: Reached, now: float = 0.0) -> dict[str, bool]:
    return waiting.look(GatewayDesired(backends=(what,)), ways, now)


def test_while_one_serves_nobody_waits() -> None:
    each, leaving = endpoint(), endpoint(1, draining=True)
    assert {} == look(Awaited(), backend(each, leaving), way(each), way(leaving))


def test_without_anybody_to_come_nobody_waits_either() -> None:
    assert {} == look(Awaited(), backend())
    leaving = endpoint(draining=True)
    assert {} == look(Awaited(), backend(leaving), way(leaving))


def test_requests_wait_for_the_one_that_is_to_come_and_not_for_ever() -> None:
    waiting, what = Awaited(), backend(awaited=True)
    assert {SHOP: True} == look(waiting, what, now=5.0)
    assert {SHOP: True} == look(waiting, what, now=4.9 + AWAITED_SECS)
    assert {SHOP: False} == look(waiting, what, now=5.0 + AWAITED_SECS)
    each = endpoint()
    assert {} == look(waiting, backend(each), way(each), now=50.0)
    assert {SHOP: True} == look(waiting, what, now=60.0)


def test_the_last_one_has_a_moment_to_finish_and_serves_on_if_it_takes_longer() -> None:
    waiting, leaving = Awaited(), endpoint(draining=True)
    what = backend(leaving, awaited=True)
    assert {SHOP: True} == look(waiting, what, way(leaving))
    assert {SHOP: False} == look(waiting, what, way(leaving), now=PARTING_SECS)
    assert {SHOP: True} == look(waiting, backend(awaited=True), now=10.0)


def test_one_of_this_node_that_has_just_ended_is_awaited_before_the_control_plane_knows() -> None:
    each = endpoint()
    assert {SHOP: True} == look(Awaited(), backend(each), way(each, None))


def test_who_waits_is_led_to_a_socket_that_is_not_there() -> None:
    leaving = endpoint(draining=True)
    desired = GatewayDesired(backends=(backend(leaving, awaited=True),))
    (cluster,) = served(desired, [way(leaving)], {SHOP}).clusters
    assert (NOBODY,) == cluster.targets
