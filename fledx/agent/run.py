"""The door of the agent: builds every object once, runs its loops in one task group, and ends them cleanly."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import anyio

import fledx
from fledx import tracing
from fledx.agent.backoff import Pace
from fledx.agent.clock import Clock
from fledx.agent.desired import DesiredState
from fledx.agent.dropping import DroppedVolumes
from fledx.agent.facts import node_facts, own_address
from fledx.agent.files import locked, open_directory
from fledx.agent.health.probes import Prober
from fledx.agent.identity import Identity
from fledx.agent.images.keeping import ImageKeeping
from fledx.agent.jobs import Jobs, boot_id
from fledx.agent.joining import Membership
from fledx.agent.leaving import clean_up, leave_anyway, unless
from fledx.agent.listening import Listening
from fledx.agent.memory import MemoryFiles, places
from fledx.agent.metrics import Metrics
from fledx.agent.observed import Observed
from fledx.agent.own_ports import OwnPorts
from fledx.agent.pages import Pages, Standing
from fledx.agent.process import look_after_the_process
from fledx.agent.public import public_of
from fledx.agent.reconcile.execute import Executor
from fledx.agent.reconcile.loop import Reconciler
from fledx.agent.report import METERED, USUAL, Reporter
from fledx.agent.runtime.base import Runtime
from fledx.agent.runtime.docker import DockerRuntime
from fledx.agent.secrets import NodeSecrets
from fledx.agent.serving import Serving
from fledx.agent.spec import Key
from fledx.agent.stats import Sampler, sample_interval
from fledx.agent.streams.exec import Commands
from fledx.agent.streams.forward import Connections
from fledx.agent.streams.logs import ReplicaLogs
from fledx.agent.streams.replicas import Replicas
from fledx.agent.streams.volumes import VolumeStreams
from fledx.agent.tunnel_client import TunnelClient
from fledx.agent.vault import Vault
from fledx.agent.volumes import Policy
from fledx.errors import FledxError
from fledx.models.node import NodeFacts
from fledx.models.token import JoinString
from fledx.settings.agent import AgentSettings
from fledx.settings.places import agent_config_directory, agent_directory
from fledx.stopping import stop_on_signal
from fledx.tunnel.link import OnStream

logger = logging.getLogger(__name__)


def main(settings: AgentSettings, *, join: str | None, environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; containers keep running. The exit code; raises FledxError for what is fatal."""
    problem: FledxError | None = None

    async def run() -> None:
        nonlocal problem
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_on_signal, stop)
            try:
                await serve(settings, join=join, environ=environ, stop=stop)
                leave_anyway()
            except FledxError as caught:
                problem = caught
            tasks.cancel_scope.cancel()

    anyio.run(run)
    if problem is not None:
        raise problem
    return 0


async def serve(
    settings: AgentSettings,
    *,
    join: str | None = None,
    environ: Mapping[str, str],
    stop: anyio.Event,
    runtime: Runtime | None = None,
    clock: Clock | None = None,
) -> None:
    """
    Be an agent until `stop` is set; several may share a process, each with a data directory of its own.

    Raises what is fatal at the start: a directory that cannot be used or is in use, a join string that is none, a join
    that is refused, no identity at all.
    """
    directory = Path(settings.data_dir) if settings.data_dir else agent_directory(environ)
    joining = JoinString.parse(join) if join else None
    open_directory(directory)
    with locked(directory):
        used, time = runtime or DockerRuntime(settings.docker_host), clock or Clock()
        membership = Membership(settings, directory, joining, time)
        identity = await unless(stop, membership.identity)
        try:
            while identity is not None and not stop.is_set():
                identity = await Agent(settings, directory, identity, membership, used, time, environ).run(stop)
            if settings.cleanup_on_shutdown and identity is not None:
                await clean_up(used, identity.node_id)
        finally:
            await used.aclose()


class Agent:
    """A node at work: the loops, and what each may know of the others."""

    def __init__(
        self,
        settings: AgentSettings,
        directory: Path,
        identity: Identity,
        membership: Membership,
        runtime: Runtime,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._membership = membership
        self._clock = clock
        self._end = anyio.Event()
        self._facts = node_facts(settings, directory, name=identity.name, host_key=identity.host_key)
        self._news = anyio.Event()
        self._metrics = Metrics(fledx.__version__)
        config = Path(settings.config_dir) if settings.config_dir else agent_config_directory(environ)
        vault = Vault(config / "agent.key", unsealed=settings.unsealed_state)
        self._desired = DesiredState(directory / "desired.json", identity.node_id, clock, self._desired_changed, vault)
        self._secrets = NodeSecrets(
            environ,
            prefix=settings.secrets_prefix,
            directory=settings.secrets_dir,
            memory=MemoryFiles(identity.node_id, places(environ)),
        )
        self._reporter = Reporter(
            look=lambda: self._observed.instances(),
            facts=self._facts_now,
            revision=self._revision,
            clock=clock,
            gateway=lambda: self._public.status,
            rhythm=METERED if settings.metered else USUAL,
        )
        self._images = ImageKeeping(
            settings,
            directory,
            runtime,
            clock,
            desired=lambda: self._desired.state,
            containers=lambda: self._observed.images(),
            say=self._reporter.say,
            tell=lambda reason: self._happened("disk", None, reason),
            pull_again=lambda kind, keys: self._loop.pull_again(kind, keys),
        )
        self._jobs = Jobs(clock, directory / "jobs.json", boot=boot_id())
        self._loop = self._make_loop(runtime)
        self._observed = Observed(
            self._loop,
            node_id=identity.node_id,
            host=settings.public_host or settings.public_ip or own_address(identity.host),
            health=lambda: self._prober.statuses,
        )
        self._prober = Prober(
            runtime,
            clock,
            running=self._observed.probed,
            changed=self._changed,
            unhealthy=self._loop.unhealthy,
            reported=self._probed_anew,
        )
        self._sampler = Sampler(
            runtime,
            clock,
            interval=sample_interval(settings),
            running=self._observed.running,
            sampled=self._reporter.sampled,
        )
        self._serving = Serving(
            self._streams(runtime),
            self._reporter,
            renew=self._renew,
            welcomed=self._welcomed,
            unknown=self._unknown,
        )
        self._dropped = DroppedVolumes(
            runtime, identity.node_id, clock, desired=lambda: self._desired.state, say=self._reporter.say
        )
        self._tunnel = TunnelClient(
            identity,
            facts=self._facts_now,
            served=self._serving,
            clock=clock,
            connect_timeout=settings.tunnel_connect_timeout_secs,
            learnt=membership.learnt,
        )
        self._ports = OwnPorts(copies=lambda: self._loop.copies, wanted=self._loop.wanted)
        self._listening = Listening(ours=self._ports.now, changed=self._reporter.changed)
        self._public = public_of(
            settings,
            identity.node_id,
            directory,
            environ,
            runtime=runtime,
            clock=clock,
            desired=lambda: self._desired.state,
            asked=lambda: self._loop.asked,
            copies=self._observed.copies,
            prober=lambda: self._prober,
            link=lambda: self._serving.link,
            login=self._images.login,
            changed=self._reporter.changed,
        )
        self._pages = Pages(settings, self._metrics, self._standing, self._public.pages)

    def _make_loop(self, runtime: Runtime) -> Reconciler:
        settings = self._settings
        executor = Executor(
            node_id=self._identity.node_id,
            node=self._facts.name or self._identity.node_id,
            runtime=runtime,
            images=self._images.images,
            secrets=self._secrets,
            policy=Policy(allows=frozenset(settings.allow), prefixes=settings.allowed_volume_prefixes),
            clock=self._clock,
        )
        return Reconciler(
            node_id=self._identity.node_id,
            runtime=runtime,
            executor=executor,
            desired=lambda: self._desired.state,
            clock=self._clock,
            pace=Pace(
                first=settings.restart_backoff_secs,
                longest=settings.restart_backoff_max_secs,
                limit=settings.restart_failure_limit,
                slow=settings.restart_slow_secs,
            ),
            interval=settings.reconcile_interval_secs,
            tell=self._happened,
            changed=self._look_changed,
            jobs=self._jobs,
        )

    def _streams(self, runtime: Runtime) -> Mapping[str, OnStream]:
        """What the control plane may open here, by kind."""
        copies, wanted = self._observed.copies, self._loop.wanted
        replicas = Replicas(copies=copies, wanted=wanted)
        logs = ReplicaLogs(runtime, copies=copies, wanted=lambda key: key in wanted(), changed=self._changed)
        volumes = VolumeStreams(
            runtime,
            self._identity.node_id,
            copies=copies,
            wanted=wanted,
            aside=self._loop.aside,
            image=lambda replica: self._images.images.ready(replica, lambda text: None),
        )
        return {
            "desired": self._desired.receive,
            "logs": logs.serve,
            "connect": Connections(replicas).serve,
            "exec": Commands(runtime, replicas).serve,
            "volume_backup": volumes.back_up,
            "volume_restore": volumes.restore,
            "volume_sizes": volumes.measure,
        }

    async def run(self, stop: anyio.Event) -> Identity:
        """Work until `stop` is set or the node has joined anew; returns the identity that counts then."""
        if (problem := self._desired.load()) is not None:
            self._reporter.happened("desired", None, problem)
        self._jobs.load()
        logger.info("agent is ready", extra={"node": self._facts.name, "node_id": self._identity.node_id})
        identity = self._identity
        async with anyio.create_task_group() as tasks:
            for loop in (
                self._loop,
                self._prober,
                self._sampler,
                self._reporter,
                self._tunnel,
                self._pages,
                self._listening,
                self._images,
                self._public,
                self._dropped,
            ):
                tasks.start_soon(loop.run)
            tasks.start_soon(look_after_the_process, self._facts.name or self._identity.node_id)
            tasks.start_soon(self._end_at, stop)
            await self._end.wait()
            if not stop.is_set():
                identity = await unless(stop, self._joined_anew) or identity
            tasks.cancel_scope.cancel()
        return identity

    async def _end_at(self, stop: anyio.Event) -> None:
        await stop.wait()
        self._end.set()

    async def _joined_anew(self) -> Identity:
        """A new identity; if that is refused as well, the old one, which may be known again tomorrow."""
        try:
            return await self._membership.join()
        except FledxError as problem:
            logger.warning("joining anew was refused", extra={"reason": problem.text})
            return self._identity

    def _renew(self, token: str) -> None:
        self._tunnel.identity = self._membership.renewed(self._tunnel.identity, token)

    def _welcomed(self) -> None:
        self._images.connected()
        self._public.linked()

    def _unknown(self) -> None:
        """A join string that was given is tried once."""
        if self._membership.may_join:
            self._end.set()

    def _desired_changed(self) -> None:
        self._dropped.look()
        self._images.changed()
        self._loop.wake()
        self._look_changed()

    def _look_changed(self) -> None:
        """Wake everybody who waits for news of the replicas."""
        if self._loop.asked:
            self._secrets.sweep(self._observed.templates())
        news, self._news = self._news, anyio.Event()
        news.set()
        self._probed_anew()

    def _probed_anew(self) -> None:
        """Tell what may look different, and where the ready ones are."""
        self._reporter.changed()
        self._public.wake()

    async def _changed(self) -> None:
        await self._news.wait()

    def _happened(self, kind: str, key: Key | None, reason: str) -> None:
        self._metrics.happened(kind)
        name = self._loop.wanted()[key].deployment if key is not None and key in self._loop.wanted() else None
        replica = {"deployment": name or key[0], "replica": key[1]} if key is not None else {}
        with tracing.working_for(self._desired.wishes.behind(key, kind)):
            logger.info(kind, extra={**replica, "reason": reason})
        self._reporter.happened(kind, key, reason)
        if kind == "port_taken" and key is not None:
            self._ports.taken(key)
            self._listening.look_soon()
        elif key is not None:
            self._ports.settled(key)

    def _revision(self) -> int:
        return self._desired.state.revision if self._desired.state else 0

    def _facts_now(self) -> NodeFacts:
        return replace(
            self._facts,
            runtime=self._loop.engine,
            runtime_error=self._loop.trouble,
            secrets=self._secrets.names() or None,
            ports_in_use=self._listening.found,
            disk_pressure=self._images.pressure,
            gateway=self._public.facts,
        )

    def _standing(self) -> Standing:
        return Standing(
            node_id=self._identity.node_id,
            name=self._facts.name,
            engine=self._loop.engine,
            trouble=self._loop.trouble,
            connected_since=self._tunnel.connected_since,
            link_problem=self._tunnel.problem,
            revision=self._revision(),
            instances=tuple(self._reporter.instances.values()),
            usage=self._sampler.latest,
            rounds=self._loop.rounds,
            round_seconds=self._loop.seconds,
            probes=self._prober.made,
            gateway=self._public.status,
        )
