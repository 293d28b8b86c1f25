"""One seeded world: what operators and fate do to it, and what must hold whatever they do."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from random import Random
from unittest import mock
from uuid import UUID

from fledx.control_plane.desired import desired_state
from fledx.control_plane.fleet import Drain
from fledx.control_plane.replicas.status import current
from fledx.control_plane.resolving import replica_of
from fledx.control_plane.scheduler.filters import unfitting, unsuitable
from fledx.control_plane.scheduler.spec import spec_of
from fledx.control_plane.store import assignments, deployments, finished, instances, nodes, revisions
from fledx.control_plane.store.deployments import Stored
from fledx.errors import FledxError
from fledx.models.assignment import Assignment
from fledx.models.deployment import DeploymentSpec, ReschedulePolicy, UpdatePolicy
from fledx.models.desired import ReplicaDesired
from fledx.models.job import JobRun
from fledx.models.node import Capacity
from fledx.models.placement import Constraints, Placement
from fledx.models.port import PortMapping
from fledx.models.token import Operator
from tests.unit.simulator.agents import CRASHES, DIES, GOOD, NEVER_READY, Agent
from tests.unit.simulator.world import STALE, World

ME = Operator(name="me")
IMAGES = (GOOD, GOOD, GOOD, CRASHES, NEVER_READY, DIES)
Slot = tuple[str, int]
MOMENTS = 25
QUIET = 1500


class Breach(AssertionError):
    """Something that must never be so."""


class Story:
    """Turmoil for a while, then peace until everything is as it should be."""

    def __init__(self, seed: int, origin: sqlite3.Connection) -> None:
        self.dice = Random(seed)
        self.world = World(origin)
        self.took: dict[str, set[int]] = defaultdict(set)
        self.fences: dict[Slot, set[tuple[str, int]]] = defaultdict(set)
        self.seen: Counter[str] = Counter()
        self.event = 0
        self.names = 0
        self.step = 0
        self.checked = -1
        self.templates: dict[tuple[str, int, tuple[PortMapping, ...]], str] = {}
        self.ended: dict[Slot, int] = {}
        self.served: tuple[int, dict[str, set[int]]] = (-1, {})
        self.bound: set[tuple[str, str]] = set()
        self.together: set[tuple[str, str, str]] = set()

    async def live(self) -> Counter[str]:
        """All of it; what was tried and what happened, counted. The same seed brings the same ids."""
        ids = Random(self.dice.random())

        def following() -> UUID:
            return UUID(int=ids.getrandbits(128), version=4)

        with mock.patch("uuid.uuid4", following):
            return await self._live()

    async def _live(self) -> Counter[str]:
        for i in range(self.dice.randint(2, 5)):
            zone = {"zone": self.dice.choice("ab")}
            await self.world.join(f"edge-{i}", self.dice.choice([1000, 2000, 4000]), zone)
        for _ in range(self.dice.randint(1, 2)):
            await self.create()
        for _ in range(MOMENTS):
            await self.act()
            for _ in range(self.dice.choice([1, 1, 3, 10])):
                await self.second(self.dice.choice([1, 1, 2, 4]))
        await self.peace()
        return self.seen

    async def act(self) -> None:
        """One thing that an operator or fate does; what is refused changes nothing."""
        deeds = [
            *(self.patch, self.patch, self.scale, self.roll_back, self.restart, self.stop_or_start, self.create),
            *(self.cordon, self.drain, self.label, self.rebalance, self.delete, self.delete_node),
            *(self.power, self.power, self.cut, self.freeze, self.heal, self.heal, self.crash, self.sleep),
        ]
        deed = self.dice.choice(deeds)
        self.seen[deed.__name__] += 1
        try:
            await deed()
        except FledxError:
            self.seen["refused"] += 1
        self.forgive()

    async def second(self, seconds: float) -> None:
        """Time passes: agents work, the loops look, and everything that must hold is checked."""
        world = self.world
        world.now += seconds
        self.step += 1
        await world.communicate()
        before = world.awake_since
        await world.reachability.sweep(world.now)
        self.check_moves(before)
        served, changes = self.serving(), world.memory.sql.total_changes
        await world.rollouts.look()
        if world.memory.sql.total_changes != changes:
            self.check_budget(served)
        if world.memory.sql.total_changes != self.checked:
            self.checked = world.memory.sql.total_changes
            self.check()

    def serving(self) -> dict[str, set[int]]:
        """By deployment: the replicas whose owner runs and shows them as they are now to be."""
        found: dict[str, set[int]] = defaultdict(set)
        sql = self.world.memory.sql
        if self.served[0] == sql.total_changes:
            return self.served[1]
        for stored in deployments.everyone(sql):
            owned = assignments.of_deployment(sql, stored.id)
            seen = current([each for each, _ in instances.of_deployment(sql, stored.id)], owned)
            for given in owned:
                each = seen.get(given.replica_number)
                if each is not None and each.ready and each.template == self.template(stored.id, given):
                    found[stored.id].add(given.replica_number)
        self.served = sql.total_changes, found
        return found

    def desired(self, agent: Agent) -> list[ReplicaDesired]:
        state = self.world.store.read(lambda sql: desired_state(sql, agent.node_id, self.world.seal))
        return [] if state is None else list(state.replicas)

    def template(self, deployment_id: str, given: Assignment) -> str:
        """The hash of the container that a replica is to have; nothing but revision and ports changes it here."""
        key = (deployment_id, given.revision, given.ports)
        if key not in self.templates:
            sql = self.world.memory.sql
            found = revisions.template(sql, deployment_id, given.revision)
            assert found is not None
            made = replica_of(sql, deployments.heading(sql, deployment_id), found, given)
            self.templates[key] = made.template
        return self.templates[key]

    def check_budget(self, before: dict[str, set[int]]) -> None:
        """Whoever serves no more after a look was taken down by our own doing, and that has its measure."""
        after, sql = self.serving(), self.world.memory.sql
        away = nodes.away(sql)
        for stored in deployments.everyone(sql):
            owned = {given.replica_number: given for given in assignments.of_deployment(sql, stored.id)}
            policy, took = stored.spec.update, self.took[stored.id]
            took -= after[stored.id]
            took -= {number for number in took if number not in owned or owned[number].node_id in away}
            lost = {number for number in before[stored.id] - after[stored.id] if not stored.is_extra(number)}
            if stored.spec.desired_state == "stopped" or stored.spec.mode == "job" or not lost:
                continue
            took |= {number for number in lost if number in owned}
            extras = sum(stored.is_extra(number) for number in after[stored.id])
            least = policy.max_unavailable or (0 if not (stored.rollout or {}).get("kept", {}).get("no_surge") else 1)
            self.seen["taken"] += len(lost)
            if len(took) > least + extras and not self.overdue(owned, lost):
                raise Breach(f"{stored.spec.name}: {sorted(took)} down by our doing, {least} + {extras} are allowed")

    def overdue(self, owned: dict[int, Assignment], lost: set[int]) -> bool:
        """Whether a drain's deadline is over, which waits for nobody."""
        return any(wish.deadline is not None or wish.force for wish in nodes.draining(self.world.memory.sql).values())

    def forgive(self) -> None:
        """What an operator takes down himself is not by our doing, nor is it held against what follows."""
        self.took.clear()

    def check_moves(self, awake_since: float) -> None:
        """Nothing moves before its node was silent for the whole time, with us awake to hear it."""
        sql = self.world.memory.sql
        rows = sql.execute("SELECT * FROM event WHERE id > ? ORDER BY id", (self.event,)).fetchall()
        for row in rows:
            self.event = row["id"]
            self.seen[row["kind"]] += 1
            if row["kind"] == "replica.moved" and "no sign of life" in row["reason"]:
                name = row["reason"].split("node ")[1].split(":")[0]
                agent = next(one for one in self.world.sessions.agents.values() if one.name == name)
                silent = self.world.now - max(agent.heard, awake_since)
                if silent < STALE:
                    raise Breach(f"{row['subject']} was moved from {name} after {silent:g} s of silence")

    def check(self) -> None:
        """What must hold at every moment."""
        sql = self.world.memory.sql
        used: Counter[str] = Counter()
        ports: Counter[tuple[str, int, str]] = Counter()
        where: dict[str, Counter[str]] = defaultdict(Counter)
        for stored in deployments.everyone(sql):
            wanted = stored.spec.constraints and stored.spec.constraints.capacity
            owned, ended = assignments.of_deployment(sql, stored.id), finished.of_deployment(sql, stored.id)
            self.check_ends(stored.id, owned, ended)
            for given in (given for given in owned if given.replica_number not in ended):
                used[given.node_id] += (wanted and wanted.cpu_millis) or 0
                where[stored.id][given.node_id] += 1
                ports.update((given.node_id, port.host_port or 0, port.protocol) for port in given.ports)
                self.fences[stored.id, given.replica_number].add((given.node_id, given.fence))
            if stored.spec.desired_state == "running":
                self.check_reasons(stored, owned, ended)
        for node in nodes.everyone(sql):
            size = (node.capacity and node.capacity.cpu_millis) or 0
            if used[node.node_id] > size:
                raise Breach(f"{node.name} has {used[node.node_id]}m of {size}m given away")
        if doubled := [port for port, count in ports.items() if count > 1]:
            raise Breach(f"ports given twice: {doubled}")
        self.check_apart(where)
        for slot, owners in self.fences.items():
            if len({fence for _, fence in owners}) < len(owners):
                raise Breach(f"{slot} had two owners under one fence: {sorted(owners)}")

    def check_apart(self, where: Mapping[str, Counter[str]]) -> None:
        """Those that must be apart are not brought together; where they were before, nobody is torn from the other."""
        everyone = deployments.everyone(self.world.memory.sql)
        ids = {stored.spec.name: stored.id for stored in everyone}
        wishes = [(stored.id, stored.spec.placement.apart or ()) for stored in everyone if stored.spec.placement]
        bound = {(one, ids[name]) for one, names in wishes for name in names if name in ids}
        together = {
            (one, other, node)
            for one, other in bound
            for node, count in where.get(one, Counter()).items()
            if (count > 1 if one == other else node in where.get(other, ()))
        }
        if new := sorted(each for each in together - self.together if each[:2] in self.bound):
            raise Breach(f"brought together: {new}")
        self.bound, self.together = bound, together

    def check_reasons(self, stored: Stored, owned: list[Assignment], ended: Mapping[int, JobRun]) -> None:
        """Who has no place has a reason."""
        waits = {each.replica_number: each.reason for each in assignments.pending_of(self.world.memory.sql, stored.id)}
        missing = set(range(stored.spec.replicas)) - {given.replica_number for given in owned} - ended.keys()
        if stored.spec.mode == "global":
            missing = self.without(stored, owned, list(waits.values()))
        if {number for number in missing if not waits.get(number)}:
            raise Breach(f"{stored.spec.name} has replicas without place and without reason")

    def check_ends(self, deployment_id: str, owned: list[Assignment], ended: Mapping[int, JobRun]) -> None:
        """What has run to its end is given to nobody else, unless an operator lets it run anew."""
        slots = {(deployment_id, number) for number in ended}
        self.ended = {slot: fence for slot, fence in self.ended.items() if slot[0] != deployment_id or slot in slots}
        for given in owned:
            slot = deployment_id, given.replica_number
            if slot in slots and self.ended.setdefault(slot, given.fence) != given.fence:
                raise Breach(f"{slot} had run to its end and was given to {given.node} all the same")

    def without(self, stored: Stored, owned: list[Assignment], reasons: list[str]) -> set[int]:
        """Of a global deployment: as many numbers as there are nodes that suit and have neither replica nor reason."""
        owners = Counter(given.node_id for given in owned)
        if doubled := [node for node, count in owners.items() if count > 1]:
            raise Breach(f"{stored.spec.name} has two replicas on {doubled}")
        shape = spec_of(stored.id, stored.spec).shape
        views = {view.id: view for view in nodes.views(self.world.memory.sql)}
        if strange := [views[owner].name for owner in owners if unfitting(shape, views[owner]) is not None]:
            raise Breach(f"{stored.spec.name} has replicas on {strange}, which do not suit")
        found = [
            view
            for view in views.values()
            if unsuitable(shape, view) is None
            and view.id not in owners
            and not any(each.startswith(f"node {view.name}:") for each in reasons)
        ]
        return set(range(len(found) or (not owned and not reasons)))

    async def peace(self) -> None:
        """All nodes are well and nobody asks for anything: then all becomes as it should be."""
        world = self.world
        for agent in list(world.sessions.agents.values()):
            agent.up = agent.linked = True
            agent.frozen = False
            if nodes.by_id(world.memory.sql, agent.node_id) is not None:
                await world.fleet.uncordon(agent.node_id, by=ME)
        self.forgive()
        for _ in range(QUIET):
            await self.second(1 if self.step % 3 else 4)
            if (unsettled := self.unsettled()) is None:
                break
        else:
            raise Breach(f"does not settle: {unsettled}")
        for _ in range(3):
            await self.second(1)
        self.check_copies()

    def unsettled(self) -> str | None:
        """What is not yet as it should be."""
        sql = self.world.memory.sql
        for stored in deployments.everyone(sql):
            state = (stored.rollout or {}).get("state")
            owned = assignments.of_deployment(sql, stored.id)
            if stored.rollout is None or (state == "progressing" and not self.hopeless(stored.spec, owned)):
                return f"{stored.spec.name}'s rollout is {state}"
            stands_in = state in ("paused", "failed") and stored.ready < stored.spec.replicas  # for who does not serve
            if any(given.leaving or (stored.is_extra(given.replica_number) and not stands_in) for given in owned):
                return f"{stored.spec.name} has replicas left over"
            behind = [given for given in owned if given.revision != stored.revision]
            # trusted while the others were away, and no good after all: who serves as before is not given up for it
            trusted = state == "complete" and not stored.spec.image.startswith(GOOD)
            if behind and state not in ("paused", "failed") and not trusted:
                return f"{stored.spec.name} has replicas behind"
            if stored.spec.mode == "job":
                if stored.spec.desired_state == "running" and owned and not self.job_is_done(stored, owned):
                    return f"{stored.spec.name} has neither ended nor is it kept: {stored.status}, {stored.reason}"
                continue
            good = stored.spec.image.startswith(GOOD) and state not in ("paused", "failed")
            if good and stored.spec.desired_state == "running" and stored.ready < len(owned):
                return f"{stored.spec.name}: {stored.ready} of {len(owned)} serve"
        return None

    def job_is_done(self, stored: Stored, owned: list[Assignment]) -> bool:
        """Every replica that has a place has run to its end, or its node keeps the schedule."""
        if stored.spec.schedule is not None:
            return (stored.job or {}).get("next_run") is not None
        ended = finished.of_deployment(self.world.memory.sql, stored.id)
        return all(given.replica_number in ended for given in owned)

    def hopeless(self, spec: DeploymentSpec, owned: list[Assignment]) -> bool:
        """A first revision that is no good is waited for, and one without any place as well."""
        return not owned or (not spec.image.startswith(GOOD) and all(given.revision == 1 for given in owned))

    def check_copies(self) -> None:
        """In the end every agent runs what it owns and nothing else."""
        for agent in self.world.sessions.agents.values():
            if nodes.by_id(self.world.memory.sql, agent.node_id) is None:
                continue
            wanted = {
                (o.deployment_id, o.replica_number, o.fence)
                for o in self.desired(agent)
                if o.desired_state == "running" and o.job is None
            }
            runs = {(*key, found.fence) for key, found in agent.containers.items() if key not in agent.records}
            jobs = {o.key for o in self.desired(agent) if o.job is not None}
            if jobs != agent.records.keys():
                raise Breach(f"{agent.name} has other jobs than it owns: {sorted(jobs ^ agent.records.keys())}")
            if wanted != runs:
                raise Breach(f"{agent.name} runs {sorted(runs)} and owns {sorted(wanted)}")

    def some(self) -> str:
        return self.dice.choice(self.world.store.read(deployments.ids) or ["none-at-all"])

    def agent(self) -> Agent:
        return self.dice.choice(list(self.world.sessions.agents.values()))

    def image(self) -> str:
        return f"{self.dice.choice(IMAGES)}:{self.dice.randrange(10**6)}"

    async def create(self) -> None:
        if self.names >= 4:
            return
        self.names += 1
        dice = self.dice
        mode = dice.choice(["service", "service", "global", "job"])
        surge = 0 if mode == "global" else dice.choice([0, 0, 1, 2])
        policy = UpdatePolicy(
            max_unavailable=dice.choice([1, 1, 2]) if not surge else dice.choice([0, 1]),
            max_surge=surge,
            min_healthy_seconds=dice.choice([0.0, 3.0]),
            progress_deadline_seconds=60.0,
            on_failure=dice.choice(["rollback", "rollback", "pause"]),
        )
        spec = DeploymentSpec(
            name=f"app-{self.names}",
            image=f"{GOOD}:1" if dice.random() < 0.8 else self.image(),
            mode=mode,
            replicas=1 if mode == "global" else dice.randint(1, 4),
            retries=dice.choice([None, 0, 2]) if mode == "job" else None,
            schedule="*/2 * * * *" if mode == "job" and dice.random() < 0.3 else None,
            constraints=Constraints(
                capacity=Capacity(cpu_millis=dice.choice([100, 400, 900])),
                labels={"zone": dice.choice("ab")} if dice.random() < 0.3 else None,
            ),
            ports=dice.choice(
                [None, (PortMapping(container_port=80),), (PortMapping(container_port=1, host_port=81),)]
            ),
            placement=None if mode == "global" else self.peers(),
            update=policy,
            reschedule=ReschedulePolicy(
                after_seconds=dice.choice([None, None, None, 0.0, STALE + 20]),
                on_return=dice.choice(["keep_new", "keep_new", "keep_original"]),
            ),
        )
        await self.world.deployments.create(spec, by=ME)

    def peers(self) -> Placement | None:
        """Near or apart from another deployment, which there may not be yet, or from itself."""
        name = f"app-{self.dice.randint(1, 4)}"
        kind = self.dice.choice([None, None, None, "near", "apart", "apart"])
        self.seen[f"{kind} a peer"] += 1
        if kind is None:
            return None
        return Placement(near=(name,)) if kind == "near" else Placement(apart=(name,))

    async def patch(self) -> None:
        await self.world.deployments.patch(self.some(), {"image": self.image()}, by=ME)

    async def scale(self) -> None:
        await self.world.deployments.patch(self.some(), {"replicas": self.dice.randint(1, 5)}, by=ME)

    async def roll_back(self) -> None:
        await self.world.revisions.rollback(self.some(), by=ME, to=self.dice.choice([None, None, 1, 2]))

    async def restart(self) -> None:
        await self.world.revisions.restart(self.some(), by=ME)

    async def stop_or_start(self) -> None:
        state = self.dice.choice(["stopped", "running", "running"])
        await self.world.deployments.patch(self.some(), {"desired_state": state}, by=ME)

    async def delete(self) -> None:
        if self.dice.random() < 0.3:
            await self.world.deployments.delete(self.some(), by=ME)

    async def cordon(self) -> None:
        ref = self.agent().node_id
        await (
            self.world.fleet.cordon(ref, by=ME) if self.dice.random() < 0.5 else self.world.fleet.uncordon(ref, by=ME)
        )

    async def drain(self) -> None:
        wanted = Drain(force=self.dice.random() < 0.2, deadline_seconds=30.0 if self.dice.random() < 0.2 else None)
        await self.world.fleet.drain(self.agent().node_id, wanted, by=ME)

    async def label(self) -> None:
        await self.world.fleet.label(self.agent().node_id, {"zone": self.dice.choice(["a", "b", None])}, by=ME)

    async def rebalance(self) -> None:
        await self.world.balance.begin(self.dice.randint(1, 5), by=ME)

    async def delete_node(self) -> None:
        agent = self.agent()
        if self.dice.random() < 0.3 and len(self.world.sessions.agents) > 2:
            await self.world.fleet.delete(agent.node_id, by=ME, force=self.dice.random() < 0.5)
            del self.world.sessions.agents[agent.node_id]

    async def power(self) -> None:
        self.agent().die()

    async def cut(self) -> None:
        self.agent().linked = False

    async def heal(self) -> None:
        agent = self.agent()
        agent.up = agent.linked = True
        agent.frozen = False

    async def freeze(self) -> None:
        self.agent().frozen = True

    async def crash(self) -> None:
        """The control plane is killed and started again; every agent that can comes back."""
        self.world.now += self.dice.choice([1, 20, 500])
        self.world.start()
        for agent in list(self.world.sessions.agents.values()):
            agent.session = False

    async def sleep(self) -> None:
        """The control plane's machine slept, or its clock jumped; links look as if they had lived on."""
        self.world.now += self.dice.choice([30, 300])
        self.world.awake_since = self.world.now
