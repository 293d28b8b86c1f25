"""A real fleet that is put through troubles, and what must hold meanwhile and afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledx.errors import FledxError
from fledx.sample.image import NAME
from tests.acceptance.edge import Edge
from tests.acceptance.troubles import NODES, Step, fill
from tests.bed.engine import Engine
from tests.waiting import eventually

CALM, BUSY = "calm", "busy"
TICK_SECS = 0.1
CONVERGED_SECS = 180.0
"""Beyond the minute after which a digest brings to light what a full disk has swallowed."""


@dataclass(frozen=True, kw_only=True)
class Living:
    """A container that runs: the start time of its process tells it from a later one with the same id."""

    node: str
    deployment: str
    number: int
    pid: int
    started: str


def started(pid: int) -> str | None:
    """When a process was started (proc(5), field 22), None when there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


class Fleet:
    """
    Two nodes, two deployments and some strangers; `calm` is never changed, `busy` is scaled.

    `living` are the containers that must stay what they are; a trouble that may end some takes them out.
    """

    def __init__(self, edge: Edge, disks: dict[str, Path]) -> None:
        self.edge = edge
        self.disks = disks
        self.living: dict[str, Living] = {}
        self.strangers: dict[str, tuple[str, int]] = {}
        self.wanted = {CALM: 2, BUSY: 2}
        self.spoilt: set[str] = set()
        self._names: dict[str, str] = {}
        self._unsure = False
        self._down: set[str] = set()
        self._heals: dict[Step, Callable[[], None]] = {}

    def begin(self) -> None:
        """Everything runs, and what is not ours beside it."""
        self.edge.start(*NODES)
        with contextlib.closing(self.edge.api()) as api:
            self._names = {each["node_id"]: each["name"] for each in api.nodes({}).items}
        for name in NODES:
            engine = self.edge.engines[name]
            for labels in ([f"fledx.deployment={CALM}"], ["fledx.node_id=somebody-else", f"fledx.deployment={CALM}"]):
                words = [word for label in labels for word in ("--label", label)]
                container = engine.docker("run", "-d", "--name", f"fledx-{CALM}-{len(labels)}", *words, NAME)
                self.strangers[container] = name, int(engine.docker("inspect", "-f", "{{.State.Pid}}", container))
        for name in (CALM, BUSY):
            self.edge.deploy(name, "--spread", "--readiness-http", "/healthz", "--health-http", "/healthz", replicas=2)
        self.settle()

    def go_through(self, steps: Sequence[Step]) -> None:
        """One round: each trouble in its time, an end to all of them, and what must hold at every moment."""
        began = time.monotonic()
        due, present = list(steps), list[Step]()
        while due or present:
            now = time.monotonic() - began
            for step in [each for each in due if each.begin <= now]:
                due.remove(step)
                self._start(step)
                present.append(step)
            for step in [each for each in present if each.begin + each.seconds <= time.monotonic() - began]:
                present.remove(step)
                self._heals.pop(step)()
            self._nobody_gave_up()
            self.check()
            time.sleep(TICK_SECS)
        self.settle()

    def check(self) -> None:
        """What must hold whatever happens: who is well stays who it is, and strangers are not touched."""
        ended = [each for each in self.living.values() if started(each.pid) != each.started]
        assert not ended, f"healthy containers ended: {ended}"
        gone = [pid for name, pid in self.strangers.values() if name not in self.spoilt and started(pid) is None]
        assert not gone, f"foreign processes ended: {gone}"

    def settle(self) -> None:
        """Wait until what runs is what is wanted, no more and no less, and remember who is well."""
        eventually(self._converged, within=CONVERGED_SECS, every=0.25)
        self.check()
        for container, (name, _) in self.strangers.items():
            assert self.edge.engines[name].docker("inspect", "-f", "{{.Id}}", container) == container
        found = [each for each in self.edge.containers() if each["Id"] not in self.strangers]
        self.living = {each["Id"]: self._seen(each) for each in found if each["State"]["Running"]}
        self._spare_strangers()

    def _spare_strangers(self) -> None:
        """Those whose engine was ended have ended with it, and nobody has started them."""
        for container, (name, _) in list(self.strangers.items()):
            if name in self.spoilt:
                state = self.edge.engines[name].docker("inspect", "-f", "{{.State.Status}}", container)
                assert state == "exited", f"a foreign container was {state} after its engine had ended"
                engine = self.edge.engines[name]
                engine.docker("start", container)
                self.strangers[container] = name, int(engine.docker("inspect", "-f", "{{.State.Pid}}", container))
        self.spoilt.clear()

    def _seen(self, described: dict[str, Any]) -> Living:
        labels, pid = described["Config"]["Labels"], int(described["State"]["Pid"])
        return Living(
            node=self._names[labels["fledx.node_id"]],
            deployment=labels["fledx.deployment"],
            number=int(labels["fledx.replica"]),
            pid=pid,
            started=started(pid) or "",
        )

    def _converged(self) -> bool:
        self._nobody_gave_up()
        assert self.edge.ready_nodes() == len(NODES)
        if self._unsure:
            self.wanted[BUSY] = int(self.edge.deployment(BUSY)["replicas"])
            self._unsure = False
        told = set()
        for name, count in self.wanted.items():
            shown = self.edge.deployment(name)
            instances = [each for each in shown["instances"] if each["state"] == "running" and each["ready"]]
            assert (shown["status"], shown["replicas"], len(instances)) == ("running", count, count), shown
            told |= {each["container_id"] for each in instances}
        found = self.edge.containers()
        run_here = {each["Id"] for each in found if each["State"]["Running"] and each["Id"] not in self.strangers}
        assert run_here == told
        return True

    def _nobody_gave_up(self) -> None:
        """No role ends by itself, whatever happens around it."""
        for process in (*self.edge.agents.values(), self.edge.control_plane):
            if process.name not in self._down and process.running is not None:
                assert process.running.poll() is None, f"{process.name} ended by itself: {process.said()[-2000:]}"

    def _start(self, step: Step) -> None:
        print(f"  {step}", flush=True)
        word = step.trouble.replace("'", "").replace(" ", "_")
        self._heals[step] = getattr(self, f"_{word}")(step)

    def _agent_killed(self, step: Step) -> Callable[[], None]:
        agent = self.edge.agents[step.target]
        self._down.add(step.target)
        agent.kill()

        def heal() -> None:
            self._down.discard(step.target)
            agent.start()

        return heal

    def _agent_frozen(self, step: Step) -> Callable[[], None]:
        pid = self.edge.agents[step.target].pid
        return _frozen(pid)

    def _agents_disk_full(self, step: Step) -> Callable[[], None]:
        return self._full(self.disks[step.target])

    def _control_planes_disk_full(self, step: Step) -> Callable[[], None]:
        return self._full(self.disks["cp"])

    def _full(self, place: Path) -> Callable[[], None]:
        fill(place)
        return (place / "filler").unlink

    def _link_cut(self, step: Step) -> Callable[[], None]:
        engine = self.edge.engines[step.target]
        engine.net.cut(self.edge.engines.gateway)
        return engine.net.heal

    def _container_removed_by_hand(self, step: Step) -> Callable[[], None]:
        here = [(each.deployment, each.number, key) for key, each in self.living.items() if each.node == step.target]
        if here:
            container = min(here)[2]
            del self.living[container]
            self.edge.engines[step.target].docker("rm", "-f", container)
        return _nothing

    def _engine_frozen(self, step: Step) -> Callable[[], None]:
        engine = self.edge.engines[step.target]
        engine.freeze()
        return engine.thaw

    def _engine_killed(self, step: Step) -> Callable[[], None]:
        return self._ended(step.target, Engine.kill)

    def _engine_restarted(self, step: Step) -> Callable[[], None]:
        return self._ended(step.target, Engine.stop)

    def _ended(self, name: str, end: Callable[[Engine], None]) -> Callable[[], None]:
        """An engine that ends takes its containers along, ours and the strangers."""
        self.spoilt.add(name)
        self.living = {key: each for key, each in self.living.items() if each.node != name}
        engine = self.edge.engines[name]
        end(engine)
        return engine.start

    def _control_plane_killed(self, step: Step) -> Callable[[], None]:
        self._down.add("cp")
        self.edge.control_plane.kill()

        def heal() -> None:
            self._down.discard("cp")
            self.edge.start_control_plane()

        return heal

    def _control_plane_frozen(self, step: Step) -> Callable[[], None]:
        return _frozen(self.edge.control_plane.pid)

    def _scaled(self, step: Step) -> Callable[[], None]:
        """What the control plane has acknowledged must come to be; what it could not take may have been taken."""
        going = {key for key, each in self.living.items() if each.deployment == BUSY and each.number >= step.replicas}
        self.living = {key: each for key, each in self.living.items() if key not in going}
        try:
            with contextlib.closing(self.edge.api()) as api:
                api.patch_deployment(BUSY, {"replicas": step.replicas})
        except FledxError as problem:
            print(f"  scaling was refused: {problem}", flush=True)
            self._unsure = True
        else:
            self.wanted[BUSY] = step.replicas
        return _nothing


def _frozen(pid: int) -> Callable[[], None]:
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def _nothing() -> None:
    """It has no end of its own."""
