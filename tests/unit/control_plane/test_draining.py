"""An instance behind gateways goes only once nobody sends it anything, and the last one waits for another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.control_plane.ingress.draining import REPLACEMENT_SECONDS, Gateway, Key, Look, Offer, Seen, next_offers

BACKEND = "d-80"
NOW = 1000.0
GRACE = 10.0


def seen(number: int = 0, node: str = "n1", fence: int = 1, template: str = "old", **changes: Any) -> Seen:
    fields = {"replica_number": number, "node_id": node, "fence": fence, "template": template}
    return Seen(**{**fields, "ready": True, "stays": True, **changes})


def offer(number: int = 0, node: str = "n1", fence: int = 1, template: str = "old", **changes: Any) -> Offer:
    fields = {"replica_number": number, "node_id": node, "fence": fence, "template": template}
    return Offer(**{**fields, "live": True, **changes})


def idle(*offers: Offer) -> frozenset[tuple[str, int, int, str]]:
    return frozenset((BACKEND, each.replica_number, each.fence, each.template) for each in offers)


UP = Gateway(node_id="g1", caught_up=True)
BEHIND = Gateway(node_id="g2", caught_up=False)


def look(*found: Seen, gateways: tuple[Gateway, ...] = (UP,), now: float = NOW, **changes: Any) -> Look:
    fields = {"seen": found, "backends": [BACKEND], "gateways": gateways, "now": now, "grace": GRACE}
    return Look(**{**fields, **changes})


def test_only_what_is_ready_and_stays_is_offered() -> None:
    found = next_offers(
        (), look(seen(0), seen(1, ready=False), seen(2, stays=False), seen(3, leaving=True), seen(4, ready=False))
    )
    assert [each.replica_number for each in found] == [0]
    assert not found[0].live


def test_it_is_live_once_every_gateway_that_counts_has_caught_up() -> None:
    first = next_offers((), look(seen(0)))
    assert [each.live for each in next_offers(first, look(seen(0), gateways=(UP, BEHIND)))] == [False]
    assert [each.live for each in next_offers(first, look(seen(0)))] == [True]
    assert [each.live for each in next_offers((), look(seen(0), gateways=()))] == [True]


def test_one_that_is_not_ready_any_more_is_out_at_once() -> None:
    assert next_offers((offer(0),), look(seen(0, ready=False))) == ()
    assert next_offers((offer(0),), look()) == ()


def test_one_that_must_go_is_drained_and_held_while_another_serves() -> None:
    (gone, stays) = next_offers((offer(0), offer(1)), look(seen(0, stays=False), seen(1)))
    assert (gone.draining_since, gone.going_since, gone.hold) == (NOW, NOW, GRACE + 5)
    assert (stays.draining_since, stays.hold) == (None, None)


def test_the_hold_ends_when_every_gateway_has_nothing_under_way() -> None:
    draining = offer(0, going_since=NOW, draining_since=NOW, hold=15.0)
    busy, done = look(seen(0, stays=False), seen(1)), replace(UP, drained=idle(draining))

    assert len(next_offers((draining, offer(1)), busy)) == 2
    half = replace(busy, gateways=(done, UP))
    assert len(next_offers((draining, offer(1)), half)) == 2
    over = next_offers((draining, offer(1)), replace(busy, gateways=(done, replace(done, node_id="g2"))))
    assert [each.replica_number for each in over] == [1]


def test_the_hold_ends_with_the_grace_whatever_a_gateway_says() -> None:
    draining = offer(0, going_since=NOW, draining_since=NOW, hold=15.0)
    late = look(seen(0, stays=False), seen(1), gateways=(UP, BEHIND), now=NOW + GRACE)
    assert [each.replica_number for each in next_offers((draining, offer(1)), late)] == [1]


def test_with_several_ports_it_is_drained_when_it_is_at_each() -> None:
    draining = offer(0, going_since=NOW, draining_since=NOW, hold=15.0)
    two = look(seen(0, stays=False), gateways=(replace(UP, drained=idle(draining)),), backends=[BACKEND, "d-81"])
    assert len(next_offers((draining,), two)) == 1
    both = idle(draining) | {("d-81", 0, 1, "old")}
    assert next_offers((draining,), replace(two, gateways=(replace(UP, drained=both),))) == ()


def test_nobody_waits_where_no_gateway_is_there() -> None:
    assert next_offers((offer(0),), look(seen(0, stays=False), gateways=())) == ()


def test_the_last_one_serves_on_until_its_successor_is_live_everywhere() -> None:
    moved = look(seen(0, stays=False), coming={("n2", 0)})
    (waiting,) = next_offers((offer(0),), moved)
    assert (waiting.going_since, waiting.draining_since) == (NOW, None)
    assert waiting.hold == REPLACEMENT_SECONDS + GRACE + 5

    there = replace(moved, seen=(seen(0, stays=False), seen(0, "n2", 2)), gateways=(UP, BEHIND))
    both = next_offers((waiting,), there)
    assert [(each.node_id, each.live, each.draining_since) for each in both] == [
        ("n1", True, None),
        ("n2", False, None),
    ]
    after = next_offers(both, replace(there, gateways=(UP,), now=NOW + 3))
    assert [(each.node_id, each.draining_since) for each in after] == [("n1", NOW + 3), ("n2", None)]


def test_a_successor_that_never_comes_is_not_waited_for_for_ever() -> None:
    waiting = offer(0, going_since=NOW, hold=75.0)
    late = look(seen(0, stays=False), coming={("n2", 0)}, now=NOW + REPLACEMENT_SECONDS)
    (draining,) = next_offers((waiting,), late)
    assert draining.draining_since == late.now


def test_the_last_one_does_not_wait_for_a_successor_that_needs_its_place() -> None:
    (draining,) = next_offers((offer(0),), look(seen(0, stays=False), coming={("n1", 0)}))
    assert draining.draining_since == NOW


def test_all_of_a_deployment_that_stops_or_is_deleted_are_drained_at_once() -> None:
    found = next_offers((offer(0), offer(1)), look(seen(0, stays=False), seen(1, stays=False)))
    assert [each.draining_since for each in found] == [NOW, NOW]


def test_a_withdrawn_one_is_drained_without_a_hold_and_then_goes_without_a_wait() -> None:
    (leaving, _) = next_offers((offer(0), offer(1)), look(seen(0, leaving=True), seen(1)))
    assert (leaving.draining_since, leaving.hold) == (NOW, None)

    done = replace(UP, drained=idle(leaving))
    (still, _) = next_offers((leaving, offer(1)), look(seen(0, leaving=True), seen(1), gateways=(done,)))
    assert still.draining_since == NOW
    left = next_offers((still, offer(1)), look(seen(0, stays=False, leaving=True), seen(1), gateways=(done,)))
    assert [each.replica_number for each in left] == [1]


def test_one_that_stays_after_all_serves_again() -> None:
    draining = offer(0, going_since=NOW, draining_since=NOW, hold=15.0)
    (back,) = next_offers((draining,), look(seen(0), now=NOW + 1))
    assert (back.going_since, back.draining_since, back.hold, back.live) == (None, None, None, True)


def test_one_that_drains_is_held_though_it_says_that_it_is_not_ready() -> None:
    draining = offer(0, going_since=NOW, draining_since=NOW, hold=15.0)
    (still, _) = next_offers((draining, offer(1)), look(seen(0, stays=False, ready=False), seen(1)))
    assert still.hold is not None


def test_a_clock_that_jumps_back_holds_nothing_longer() -> None:
    draining = offer(0, going_since=NOW, draining_since=NOW, hold=15.0)
    (still,) = next_offers((draining,), look(seen(0, stays=False), now=NOW - 3600))
    assert still.draining_since == NOW - 3600
    assert next_offers((still,), look(seen(0, stays=False), now=NOW - 3600 + GRACE)) == ()


@dataclass
class World:
    """One deployment whose containers start, get ready and go; gateways that lag, and that finish what they had."""

    offers: tuple[Offer, ...] = ()
    now: float = 0.0
    running: dict[tuple[str, int], tuple[int, str, float]] = field(default_factory=dict)
    wanted: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    serves: dict[str, tuple[Offer, ...]] = field(default_factory=lambda: {"g1": (), "g2": ()})
    busy_until: dict[tuple[str, Key], float] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)

    def look(self) -> Look:
        found = [
            seen(
                number,
                node,
                fence,
                template,
                ready=self.now >= ready_at,
                stays=self.wanted.get((node, number)) == (fence, template),
            )
            for (node, number), (fence, template, ready_at) in sorted(self.running.items())
        ]
        gateways = tuple(self._gateway(name) for name in self.serves)
        return Look(seen=found, coming=set(self.wanted), backends=[BACKEND], gateways=gateways, now=self.now)

    def _gateway(self, name: str) -> Gateway:
        shown = self.serves[name]
        visible = [(each.key, each.draining_since is not None) for each in shown]
        newest = [(each.key, each.draining_since is not None) for each in self.offers]
        done = [
            each
            for each in shown
            if each.draining_since is not None and self.busy_until.get((name, each.key), 0) <= self.now
        ]
        return Gateway(node_id=name, caught_up=visible == newest, drained=idle(*done))

    def decide(self) -> None:
        self.offers = next_offers(self.offers, self.look())

    def agents(self) -> None:
        """Take down what is neither wanted nor held, start what is wanted where nothing else is."""
        held = {(each.node_id, each.replica_number) for each in self.offers if each.hold is not None}
        for place, (fence, template, _) in list(self.running.items()):
            if self.wanted.get(place) != (fence, template) and place not in held:
                self._take_down(place, (place[1], place[0], fence, template))
        for place, (fence, template) in self.wanted.items():
            if place not in self.running:
                self.running[place] = (fence, template, self.now + 2)

    def _take_down(self, place: tuple[str, int], key: Key) -> None:
        del self.running[place]
        for name, shown in self.serves.items():
            if any(each.key == key and each.draining_since is None for each in shown):
                self.cut.append(f"{name} sends new requests to {key}")
            if self.busy_until.get((name, key), 0) > self.now:
                self.cut.append(f"{name} had requests under way at {key}")

    def catch_up(self, name: str) -> None:
        """A gateway gets the newest; what it sends to an instance now takes up to three seconds."""
        self.serves[name] = self.offers
        for each in self.offers:
            if each.draining_since is None:
                self.busy_until[name, each.key] = self.now + 3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(1, 4)),
        st.tuples(st.just("update"), st.integers(0, 3)),
        st.tuples(st.just("move"), st.integers(0, 3)),
    ),
    max_size=6,
)


def want(world: World, kind: str, number: int, version: int) -> None:
    """One change of what is wanted."""
    if kind == "scale":
        have = {place[1] for place in world.wanted}
        for place in [place for place in world.wanted if place[1] >= number]:
            del world.wanted[place]
        world.wanted.update({("n1", each): (version, "old") for each in range(number) if each not in have})
        return
    for place in [place for place in world.wanted if place[1] == number]:
        fence, _ = world.wanted.pop(place)
        if kind == "move":
            world.wanted["n2" if place[0] == "n1" else "n1", number] = (version, "old")
        else:
            world.wanted[place] = (fence, f"v{version}")


@settings(max_examples=200, deadline=None)
@given(STEPS, st.lists(st.booleans(), min_size=200, max_size=200))
def test_no_instance_goes_while_a_gateway_that_counts_uses_it(steps: list[tuple[str, int]], lags: list[bool]) -> None:
    """Whatever changes when; a gateway is behind by chance, but hears within a few seconds."""
    world = World()
    want(world, "scale", 2, 1)
    for tick in range(100):
        world.now = float(tick)
        if tick % 15 == 14 and steps:
            want(world, *steps.pop(0), tick)
        world.decide()  # in the transaction of the change itself, so before any agent hears of it
        world.agents()
        for name, late in zip(world.serves, lags[2 * tick :], strict=False):
            if not late or tick % 3 == 0:
                world.catch_up(name)
        world.decide()
    assert world.cut == []
    assert {(node, number) for node, number in world.running} == set(world.wanted)
    assert {(each.node_id, each.replica_number) for each in world.offers} == set(world.wanted)
    assert not any(each.passing for each in world.offers)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["update", "move"]), max_size=4))
def test_a_gateway_that_never_answers_holds_nothing_up_for_ever(kinds: list[str]) -> None:
    world = World()
    want(world, "scale", 1, 1)
    for tick in range(120 * (len(kinds) + 1)):
        world.now = float(tick)
        if tick % 120 == 119 and tick // 120 < len(kinds):
            want(world, kinds[tick // 120], 0, tick)
        world.decide()
        world.agents()
    assert set(world.running) == set(world.wanted)
    assert all(world.wanted[place] == (fence, template) for place, (fence, template, _) in world.running.items())
