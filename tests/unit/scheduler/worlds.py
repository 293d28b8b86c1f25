"""Seeded worlds: random fleets and deployments, with random things happening, watched after every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from fledx.control_plane.scheduler.board import Board, Memory
from fledx.control_plane.scheduler.fits import fits, settle
from fledx.control_plane.scheduler.place import NodeView
from fledx.control_plane.scheduler.ports import Want, overlap
from fledx.control_plane.scheduler.rebalance import rebalance
from fledx.control_plane.scheduler.schedule import Plan, schedule
from fledx.control_plane.scheduler.spec import Peer, Preference, Shape, Spec, Spread
from fledx.models.rule import Rule
from tests.unit.scheduler import oracle

MIB = 1024**2
STEPS = 16
BUSY = (("tcp", 80), ("tcp", 8080), ("tcp", 30000), ("tcp", 30002), ("udp", 81))
RULES = ("disk=ssd", "disk!=hdd", "zone in (a,b)", "zone notin (c)", "gpu", "!gpu", "zone=a")


class Story:
    """One world from its seed; `live` raises AssertionError at the first breach."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.bounds = self.dice.choice([(30000, 40000), (30000, 30002), (80, 82), None])
        self.joined = 0
        self.calm = self.dice.random() < 0.6
        nodes = [self._node() for _ in range(self.dice.randint(1, 12))]
        memory = self.dice.choice([Memory(), Memory(tiny=0), Memory(tiny=0, standings=12), Memory(tiny=0, changes=4)])
        self.board = Board(nodes, self.bounds, memory)
        self.world = oracle.World(nodes, self.bounds)
        self.specs = {f"id-{i}": self._spec(i) for i in range(self.dice.randint(2, 6))}
        self.counts = {"plans": 0, "refused": 0, "edits": 0, "stays": 0, "moves": 0}

    def live(self) -> dict[str, int]:
        """Let things happen, check each, and tell how many of what there were."""
        happenings = [self._plan] * 6 + [self._release, self._edit, self._edit, self._join, self._leave, self._revise]
        for _ in range(STEPS):
            self.dice.choice(happenings)()
            self._agree()
        self._stays()
        self._rebuilt()
        self._rebalance()
        return self.counts

    def _node(self, name: str | None = None) -> NodeView:
        dice = self.dice
        self.joined += 1
        return NodeView(
            id=f"n{dice.randrange(1000)}-{self.joined}",
            name=name or f"edge-{dice.randrange(100):02}-{self.joined}",
            **self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        dice = self.dice
        often = 40 if self.calm else 4
        values = {"disk": ("ssd", "hdd"), "zone": ("a", "b", "c"), "gpu": ("yes",)}
        return {
            "status": dice.choice(("ready",) * often + ("unreachable", "error", "registering")),
            "availability": dice.choice(("active",) * often + ("cordoned", "draining")),
            "arch": dice.choice(("amd64",) * often + ("arm64", None)),
            "os": dice.choice(("linux",) * often + ("windows", None)),
            "labels": {key: dice.choice(some) for key, some in values.items() if dice.random() < 0.6},
            "busy": frozenset(busy for busy in BUSY if dice.random() < 0.15),
            "port_range": dice.choice((None, None, None, (80, 81), (30001, 30003), (30002, 40000))),
            "public_ip": dice.random() < 0.5,
            "cpu": dice.choice((1000, 2000, 4000, 16000) if self.calm else (0, 1000, 2000)),
            "memory": dice.choice((1024 * MIB, 4096 * MIB, 8192 * MIB) if self.calm else (0, 512 * MIB, 1024 * MIB)),
        }

    def _spec(self, number: int) -> Spec:
        dice = self.dice
        strategy = dice.choice(("least", "least", "pack"))
        spread = dice.choice((Spread(), Spread(), Spread(max_skew=2), Spread("zone"), Spread("zone", 2), None))
        shape = Shape(
            arch=dice.choice((None, None, None, "amd64", "arm64")),
            os=dice.choice((None, None, None, "linux")),
            public_ip=dice.random() < 0.1,
            rules=tuple(Rule.parse(text) for text in dice.sample(RULES, dice.choice((0, 0, 0, 1, 2)))),
            preferences=tuple(self._preference() for _ in range(dice.choice((0, 0, 1, 2)))),
            domain=spread.label if spread else None,
            strategy=strategy,
        )
        return Spec(
            deployment=f"id-{number}",
            name=f"app-{number}",
            shape=shape,
            cpu=dice.choice((0, 0, 50, 250, 1000)),
            memory=dice.choice((0, 0, 64 * MIB, 300 * MIB)),
            wants=self._wants(),
            near=self._peers(0.12),
            apart=self._peers(0.2),
            favours=tuple(
                (f"id-{dice.randrange(6)}", dice.choice((1, 3, -2))) for _ in range(dice.choice((0, 0, 1, 2)))
            ),
            spread=spread,
        )

    def _preference(self) -> Preference:
        dice = self.dice
        node = dice.choice(self.world.nodes) if hasattr(self, "world") else None
        nodes = frozenset({dice.choice((node.id, node.name))}) if node and dice.random() < 0.5 else frozenset()
        labels = (("disk", "ssd"),) if dice.random() < 0.5 else (("disk", "hdd"), ("zone", "a"))
        return Preference(weight=dice.choice((1, 2, -2)), nodes=nodes, labels=labels)

    def _wants(self) -> tuple[Want, ...]:
        dice = self.dice
        return tuple(
            Want(
                container=80 + at,
                protocol=dice.choice(("tcp", "tcp", "tcp", "udp")),
                host=dice.choice((None, None, 80, 81, 8080)),
                address=dice.choice(("", "", "10.0.0.1", "10.0.0.2")),
            )
            for at in range(dice.choice((0, 0, 0, 1, 1, 2, 3)))
        )

    def _peers(self, chance: float) -> tuple[Peer, ...]:
        numbers = [number for number in range(6) if self.dice.random() < chance / 2]
        return tuple(Peer(f"id-{number}", f"app-{number}") for number in numbers)

    def _plan(self) -> None:
        spec = self.dice.choice(list(self.specs.values()))
        held = self.board.of(spec.deployment)
        wanted = [number for number in range(self.dice.choice((1, 2, 3, 6, 12))) if number not in held]
        self._schedule(spec, wanted, self._bound(wanted))

    def _bound(self, wanted: list[int]) -> dict[int, str]:
        nodes = [node.id for node in self.world.nodes] + ["n-gone"]
        return {number: self.dice.choice(nodes) for number in wanted if self.dice.random() < 0.05}

    def _schedule(self, spec: Spec, wanted: list[int], bound: Mapping[int, str]) -> None:
        plan = schedule(self.board, spec, wanted, bound=bound)
        placed, reasons = oracle.plan(self.world, spec, wanted, bound)
        assert placed == list(plan.placed)
        assert reasons == plan.reasons
        assert [number for number in wanted if number in reasons] == list(plan.left)
        assert sorted([*plan.left, *(one.number for one in placed)]) == sorted(wanted)
        assert all(0 < len(reason) <= 700 for reason in reasons.values())
        self.board.apply(spec, plan.placed)
        self.world.apply(spec, placed)
        self.counts["plans"] += 1
        self.counts["refused"] += bool(reasons)
        self._sound(spec, plan)

    def _sound(self, spec: Spec, plan: Plan) -> None:
        """What must hold whoever planned: nothing promised twice, nothing where it was forbidden."""
        for one in plan.placed:
            place = self.board.places[self.board.index[one.node]]
            assert not spec.cpu or place.cpu >= 0, "more CPU promised than there is"
            assert not spec.memory or place.memory >= 0, "more memory promised than there is"
            ports = [port for held in self.board.on(one.node) for port in held.ports]
            for at, port in enumerate(ports):
                doubles = [p for p in ports[:at] if (p.protocol, p.host) == (port.protocol, port.host)]
                assert not any(overlap(p.address, port.address) for p in doubles), "a port promised twice"
            self._company(spec, one.node)

    def _company(self, spec: Spec, node_id: str) -> None:
        there = {held.deployment for held in self.board.on(node_id)}
        own = [held for held in self.board.on(node_id) if held.deployment == spec.deployment]
        for peer in spec.apart:
            assert peer.id not in there or (peer.id == spec.deployment and len(own) == 1), "not apart"
        assert all(peer.id in there for peer in spec.near), "not near"
        for other in there - {spec.deployment}:
            assert spec.deployment not in {peer.id for peer in self.world.specs[other].apart}, "the other is not apart"

    def _release(self) -> None:
        spec = self.dice.choice(list(self.specs.values()))
        numbers = [number for number in range(12) if self.dice.random() < 0.5] if self.dice.random() < 0.7 else None
        self.board.remove(spec.deployment, numbers)
        self.world.standing = [
            one
            for one in self.world.standing
            if one.deployment != spec.deployment or (numbers is not None and one.number not in numbers)
        ]
        self.counts["edits"] += 1

    def _edit(self) -> None:
        at = self.dice.randrange(len(self.world.nodes))
        old, facts = self.world.nodes[at], self._facts()
        some = {key: facts[key] for key in self.dice.sample(sorted(facts), self.dice.choice((1, 2)))}
        if self.dice.random() < 0.1:
            some["name"] = f"edge-{self.dice.randrange(100):02}-new-{at}"
        self.world.nodes[at] = replace(old, **some)
        self.board.update(self.world.nodes[at])
        self.counts["edits"] += 1

    def _join(self) -> None:
        self.world.nodes.append(self._node())
        self.board.update(self.world.nodes[-1])
        self.counts["edits"] += 1

    def _leave(self) -> None:
        if len(self.world.nodes) > 1:
            node = self.world.nodes.pop(self.dice.randrange(len(self.world.nodes)))
            lost = self.board.forget(node.id)
            assert sorted(one[:2] for one in self.world.on(node)) == [one[:2] for one in lost]
            self.world.standing = [one for one in self.world.standing if one.node != node.id]
            self.counts["edits"] += 1

    def _revise(self) -> None:
        number = self.dice.randrange(len(self.specs))
        spec = self.specs[f"id-{number}"] = self._spec(number)
        self.board.revise(spec)
        held = [one for one in self.world.standing if one.deployment == spec.deployment]
        self.world.apply(spec, [one._replace(cpu=spec.cpu, memory=spec.memory) for one in held])
        self.counts["edits"] += 1

    def _agree(self) -> None:
        """Board and world hold the same."""
        held = sorted(one for place in self.board.places for one in place.held.values())
        assert sorted(self.world.standing) == held

    def _stays(self) -> None:
        """Whether replicas may stay is answered alike, and asking changes nothing."""
        before = _state(self.board)
        for one in self.world.standing:
            spec = self.specs[one.deployment]
            assert oracle.fits(self.world, spec, one) == fits(self.board, spec, one)
            settled = settle(self.board, spec, one)
            if not isinstance(settled, str):
                assert (settled.node, settled.number, settled.cpu) == (one.node, one.number, spec.cpu)
                assert len(settled.ports) == len(spec.wants)
            self.counts["stays"] += 1
        assert before == _state(self.board)

    def _rebuilt(self) -> None:
        """A board built anew holds the same and decides the same."""
        board = Board(self.world.nodes, self.bounds)
        for spec in self.specs.values():
            last = self.world.specs.get(spec.deployment, spec)
            board.apply(last, [one for one in self.world.standing if one.deployment == spec.deployment])
        assert _state(board) == _state(self.board)
        for spec in self.specs.values():
            wanted = range(20, 23)
            assert schedule(board, spec, wanted) == schedule(self.board, spec, wanted)

    def _rebalance(self) -> None:
        """Moves keep every rule, state a reason, and come to an end."""
        for _ in range(20):
            moves = rebalance(self.board, self.specs, most=5)
            for move in moves:
                spec = self.specs[move.now.deployment]
                assert self.board.of(spec.deployment)[move.now.number] == move.now
                assert move.reason
                assert move.now.node != move.then.node
                self.board.remove(spec.deployment, [move.now.number])
                self.world.standing.remove(move.now)
                assert oracle.refusal(self.world, spec, self._by_id(move.then.node)) is None
                self.board.apply(spec, [move.then])
                self.world.apply(spec, [move.then])
                self.counts["moves"] += 1
            if not moves:
                return
        specs = self.specs.values()
        chase = any(spec.favours or spec.near for spec in specs) or len({spec.shape.strategy for spec in specs}) > 1
        assert chase, "rebalancing does not come to an end"

    def _by_id(self, node_id: str) -> NodeView:
        return next(node for node in self.world.nodes if node.id == node_id)


def _state(board: Board) -> object:
    """All that decides, in a form that compares."""
    places = [
        (
            place.node,
            place.cpu,
            place.memory,
            place.used_cpu,
            place.used_memory,
            place.load,
            sorted(place.held.values()),
        )
        for place in board.places
    ]
    running = {deployment: sorted(counts.items()) for deployment, counts in board.running.items()}
    return (
        places,
        running,
        board.ports.taken(),
        {one: sorted(board.rivals(one)) for one in map("id-{}".format, range(6))},
    )
