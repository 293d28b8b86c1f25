"""Whatever is found and whatever is done to a node: it converges, says why, and harms nobody else's containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from fledx.agent.backoff import Pace
from fledx.agent.reconcile.actions import Action, Copy, Remove, Replace, Resume, Start, Stop, Wait
from fledx.agent.reconcile.history import History, Moment, looked_back, resumed, started, stopped
from fledx.agent.reconcile.plan import View, plan
from fledx.agent.runtime.containers import Container, PullFailed
from fledx.agent.spec import Key, marks_for
from fledx.models.desired import ReplicaDesired
from tests.unit.agent.stage import NODE, PACE, Stage, port, replica, running

STATES = ("created", "running", "paused", "restarting", "exited", "dead")

replicas = st.builds(
    lambda number, image, fence, policy, state, host_port: replica(
        number,
        image=image,
        fence=fence,
        restart=policy,
        desired_state=state,
        ports=(port(host_port + number),) if host_port else None,
    ),
    st.integers(0, 2),
    st.sampled_from(["app:1", "app:2"]),
    st.integers(1, 2),
    st.sampled_from(["always", "on_failure", "never"]),
    st.sampled_from(["running", "running", "stopped"]),
    st.sampled_from([None, 8000]),
)


@st.composite
def copies(draw: st.DrawFn) -> Copy:
    """A container that some earlier agent may have left."""
    wanted = draw(replicas)
    state = draw(st.sampled_from(STATES))
    number = draw(st.integers(0, 10**6))
    container = Container(
        id=f"c{number}",
        name=f"n{number}",
        image=wanted.image,
        labels={},
        state=state,
        created_at=f"2026-11-25T12:{number:06d}",
        exit_code=draw(st.sampled_from([0, 1, 137])) if state in ("exited", "dead") else None,
        ports=(wanted.ports or ()) if state == "running" else (),
    )
    return Copy(container=container, marks=marks_for(wanted, NODE, draw(st.integers(0, 3))))


class PureWorld:
    """Executes a plan by its meaning, without an engine."""

    def __init__(self, wanted: Sequence[ReplicaDesired], found: Sequence[Copy]) -> None:
        self.wanted = {each.key: each for each in wanted}
        self.copies: list[Copy] = list({each.container.id: each for each in found}.values())
        self.histories: dict[Key, History] = {}
        self.now = 1000.0
        self.count = 0
        self.look()

    def look(self) -> None:
        for key, wanted in self.wanted.items():
            moment = Moment(now=self.now)
            self.histories[key], _ = looked_back(self.histories.get(key), wanted, self.of(key), moment, PACE)

    def of(self, key: Key) -> list[Copy]:
        return [copy for copy in self.copies if copy.marks.key == key]

    def plan(self, pace: Pace = PACE, held: frozenset[Key] = frozenset()) -> list[Action]:
        grouped = {key: self.of(key) for key in {copy.marks.key for copy in self.copies}}
        return plan(
            View(desired=self.wanted, copies=grouped, histories=self.histories, now=self.now, pace=pace, held=held)
        )

    def execute(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._one(action)
        self.look()

    def _one(self, action: Action) -> None:
        history = self.histories.get(action.key)
        match action:
            case Start(replica=wanted, restarts=restarts):
                self._new(wanted, restarts)
            case Replace(replica=wanted, old=old, prepared=prepared):
                self._set(old, state="exited", exit_code=143)
                if prepared is None:
                    self._new(wanted, 0)
                else:
                    self._set(prepared, state="running")
                    self.histories[action.key] = started(self.histories[action.key], prepared.container.id, self.now)
            case Resume(copy=copy, replica=wanted):
                self._set(copy, state="running", exit_code=None)
                if history is not None:
                    after = started if copy.fits(wanted) and copy.container.state != "paused" else resumed
                    self.histories[action.key] = after(history, copy.container.id, self.now)
            case Stop(copy=copy, remove=remove):
                self._set(copy, state="exited", exit_code=143)
                if remove:
                    self._drop(copy)
                if history is not None:
                    self.histories[action.key] = stopped(history, copy.container.id)
            case Remove(copy=copy):
                self._drop(copy)

    def _new(self, wanted: ReplicaDesired, restarts: int) -> None:
        self.count += 1
        container = Container(
            id=f"new{self.count}",
            name=f"new{self.count}",
            image=wanted.image,
            labels={},
            state="running",
            created_at=f"2026-11-26T{self.count:06d}",
        )
        self.copies.append(Copy(container=container, marks=marks_for(wanted, NODE, restarts)))
        self.histories[wanted.key] = started(self.histories[wanted.key], container.id, self.now)

    def _set(self, copy: Copy, **changes: Any) -> None:
        self.copies = [
            replace(each, container=replace(each.container, ports=(), **changes))
            if each.container.id == copy.container.id
            else each
            for each in self.copies
        ]

    def _drop(self, copy: Copy) -> None:
        self.copies = [each for each in self.copies if each.container.id != copy.container.id]


def unique(wanted: Sequence[ReplicaDesired]) -> list[ReplicaDesired]:
    return list({each.key: each for each in wanted}.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(replicas, max_size=3), st.lists(copies(), max_size=6))
def test_a_plan_carried_out_leaves_nothing_to_do(wanted: list[ReplicaDesired], found: list[Copy]) -> None:
    world = PureWorld(unique(wanted), found)
    for _ in range(4):
        actions = world.plan()
        if not actions:
            break
        assert all(action.reason and action.kind for action in actions)
        world.execute([action for action in actions if not isinstance(action, Wait)])
    assert world.plan() == []
    alive = Counter(copy.marks.key for copy in world.copies if copy.alive)
    for key, each in world.wanted.items():
        mine = world.of(key)
        if each.desired_state == "stopped":
            assert alive[key] == 0
        elif alive[key] == 0:
            assert each.restart != "always"  # a job that is done
        else:
            assert alive[key] == 1
            assert all(copy.fits(each) and copy.running for copy in mine if copy.alive)
        assert len(mine) <= 2
    assert {copy.marks.key for copy in world.copies} <= world.wanted.keys()
    world.now += PACE.stable + 1
    world.look()
    world.execute(world.plan())
    assert world.plan() == []


@settings(max_examples=200, deadline=None)
@given(st.lists(replicas, max_size=3), st.lists(copies(), max_size=6))
def test_one_plan_never_makes_two_containers_run_for_one_replica(
    wanted: list[ReplicaDesired], found: list[Copy]
) -> None:
    world = PureWorld(unique(wanted), found)
    actions = world.plan()
    beginnings = Counter(action.key for action in actions if isinstance(action, Start | Resume | Replace))
    assert all(count == 1 for count in beginnings.values())
    for action in actions:
        if isinstance(action, Start | Resume):
            stopped_ids = {each.copy.container.id for each in actions if isinstance(each, Stop)}
            mine = {copy.container.id for copy in world.of(action.key) if copy.running}
            assert mine <= stopped_ids


@settings(max_examples=150, deadline=None)
@given(st.lists(replicas, max_size=3), st.lists(copies(), max_size=6))
def test_a_container_that_runs_and_fits_is_left_alone(wanted: list[ReplicaDesired], found: list[Copy]) -> None:
    world = PureWorld(unique(wanted), found)
    right = {
        copy.marks.key: copy.container.id
        for copy in sorted(world.copies, key=lambda copy: copy.container.created_at, reverse=True)
        if copy.running
        and copy.marks.key in world.wanted
        and copy.fits(world.wanted[copy.marks.key])
        and world.wanted[copy.marks.key].desired_state == "running"
    }
    for action in world.plan():
        if isinstance(action, Stop | Remove):
            assert action.copy.container.id not in right.values()
        assert not (isinstance(action, Start | Replace | Resume) and action.key in right)


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.lists(replicas, max_size=3)),
        st.tuples(st.sampled_from(["crash", "stop", "remove", "pause", "exit0"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["away", "away-live", "back", "pull-breaks", "pull-works"]), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 40.0])),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(deeds)
def test_a_node_converges_after_whatever_happened_to_it(story: list[tuple[str, Any]]) -> None:
    anyio.run(_live_through, story)


async def _live_through(story: list[tuple[str, Any]]) -> None:
    stage = Stage()
    theirs = stage.runtime.foreign("theirs", labels={"fledx.node_id": "another"})
    stage.runtime.images.discard("app:2")
    stage.runtime.registry["app:2"] = None
    async with running(stage):
        for deed, detail in story:
            await _do(stage, deed, detail)
            _nothing_doubled(stage)
            assert theirs.id in {each.id for each in stage.runtime.all()}
            assert not any(each.endswith(" theirs") for each in stage.runtime.done)
        stage.runtime.registry["app:2"] = None
        stage.runtime.come_back()
        await stage.wait(10)
        for _ in range(12):
            await stage.wait(60)
        stage.runtime.done.clear()
        await stage.wait(40)
        assert stage.runtime.done == []
        _as_desired(stage)
        assert all(reason for _, _, reason in stage.happened)


async def _do(stage: Stage, deed: str, detail: Any) -> None:
    ours = [each for each in stage.runtime.running() if each.name != "theirs"]
    match deed:
        case "want":
            return await stage.want(*unique(detail))
        case "wait":
            return await stage.wait(detail)
        case "away" | "away-live":
            stage.runtime.go_away(ending=deed == "away")
        case "back":
            stage.runtime.come_back()
        case "pull-breaks":
            stage.runtime.registry["app:2"] = PullFailed("unreachable", "image app:2: no")
            stage.runtime.images.discard("app:2")
        case "pull-works":
            stage.runtime.registry["app:2"] = None
        case _ if ours and not stage.runtime.down:
            container_id = ours[detail % len(ours)].id
            {
                "crash": lambda: stage.runtime.exit(container_id, 1),
                "exit0": lambda: stage.runtime.exit(container_id, 0),
                "stop": lambda: stage.runtime.stop_by_hand(container_id),
                "remove": lambda: stage.runtime.remove_by_hand(container_id),
                "pause": lambda: stage.runtime.pause_by_hand(container_id),
            }[deed]()
    await stage.settle()


def _nothing_doubled(stage: Stage) -> None:
    counts = Counter(each.labels.get("fledx.replica") for each in stage.runtime.running() if each.name != "theirs")
    assert all(count == 1 for count in counts.values()), counts


def _as_desired(stage: Stage) -> None:
    wanted = stage.loop.wanted()
    for key, each in wanted.items():
        shown = stage.instance(key[1])
        if each.desired_state == "stopped":
            assert shown.state == "stopped"
        elif shown.state != "running":
            assert each.restart != "always", shown
        else:
            assert (shown.template, shown.fence) == (each.template, each.fence)
    if stage.state is not None:
        numbers = {each.labels["fledx.replica"] for each in stage.runtime.all() if each.name != "theirs"}
        assert numbers <= {str(key[1]) for key in wanted}
