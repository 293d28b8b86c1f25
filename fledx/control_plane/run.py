"""The door of the control plane: makes every object once, starts everything, and ends it in order."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from fledx import __version__, _boot
from fledx.control_plane import process, web
from fledx.control_plane.agents import Agents
from fledx.control_plane.api.app import Application
from fledx.control_plane.api.app import app as make_app
from fledx.control_plane.asking import UsageAsking
from fledx.control_plane.audit import AuditLog
from fledx.control_plane.backups import DailyBackups, Restored, Taken, inspected, restore, take
from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import Changes
from fledx.control_plane.configs import Configs
from fledx.control_plane.deployments import Deployments
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.entrance import Entrance
from fledx.control_plane.events import Events
from fledx.control_plane.fleet import Fleet
from fledx.control_plane.home import Home, lock, raise_file_limit, settle
from fledx.control_plane.ingress.backends import Backends
from fledx.control_plane.ingress.certificates import Certificates
from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.ingress.sessions import Ingress
from fledx.control_plane.logs import Logs
from fledx.control_plane.loops.backups import BackupLoop
from fledx.control_plane.loops.certificates import Endings
from fledx.control_plane.loops.draining import Draining
from fledx.control_plane.loops.reachability import Reachability
from fledx.control_plane.loops.retention import Retention
from fledx.control_plane.loops.rollouts import Rollouts
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.nodes import Nodes
from fledx.control_plane.operators import ROLE as OPERATOR
from fledx.control_plane.operators import Operators
from fledx.control_plane.overview import Overview
from fledx.control_plane.pins import Pins
from fledx.control_plane.rebalancing import Rebalancing
from fledx.control_plane.registries import Registries
from fledx.control_plane.reports import Reports
from fledx.control_plane.revisions import Revisions
from fledx.control_plane.secrets import Secrets
from fledx.control_plane.store import migrate
from fledx.control_plane.store.audit import Chain
from fledx.control_plane.store.database import Database, inspect, path_of
from fledx.control_plane.targets import Targets
from fledx.control_plane.trust.operator_tokens import OperatorTokens
from fledx.control_plane.trust.pki import expiry, utc_now
from fledx.control_plane.trust.tokens import Tokens
from fledx.control_plane.usage import UsageHistory
from fledx.control_plane.volumes import Volumes
from fledx.control_plane.watching import Watching
from fledx.errors import FledxError
from fledx.sealing import kept
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.settings.places import control_plane_directory
from fledx.stopping import stop_on_signal
from fledx.tunnel.listen import Listener
from fledx.tunnel.tls import server_context

log = logging.getLogger(__name__)


def main(settings: ControlPlaneSettings, *, environ: Mapping[str, str], dry_run: bool) -> int:
    """Run until SIGTERM or SIGINT; with `dry_run` only list the migrations a start would apply. The exit code."""
    if dry_run:
        return list_migrations(settings, environ)
    home = settle(settings, environ, utc_now())
    descriptor = lock(home.directory)
    try:
        backups = _backups(settings, home.directory, home.database)
        inspected(home.database, backups)
        if steps := _migrated(home):
            names = " ".join(f"{step.version}-{step.name}" for step in steps)
            log.info("database brought up to date", extra={"migrations": names})
        with closing(Database(home.database)) as store:
            anyio.run(_run, settings, home, store, backups)
    finally:
        os.close(descriptor)
    return 0


def list_migrations(settings: ControlPlaneSettings, environ: Mapping[str, str]) -> int:
    """Print what a start would apply; changes and creates nothing."""
    _, database = _places(settings, environ)
    steps = migrate.what_is_pending(database)
    for step in steps:
        print(f"{step.version:04d} {step.name}")
    print(f"{len(steps)} of {len(migrate.known())} migrations would be applied to {database}; nothing was changed")
    return 0


def back_up(settings: ControlPlaneSettings, target: Path, *, environ: Mapping[str, str], with_keys: bool) -> Taken:
    """Copy the control plane of these settings, running or not, to a file."""
    return take(*_places(settings, environ), target, with_keys=with_keys)


def fault_of(database: Path) -> str | None:
    """What is wrong with a database, whether a control plane runs on it or not."""
    try:
        inspect(database)
    except FledxError as fault:
        return fault.text
    return None


def newest_backup(directory: Path) -> float | None:
    """When the newest of the daily backups in a data directory was taken, in unix seconds."""
    known = DailyBackups(directory, directory / "fledx.db", interval_seconds=0.0, keep_seconds=0.0).known()
    return known[0][0] if known else None


def put_back(settings: ControlPlaneSettings, source: Path, *, environ: Mapping[str, str], force: bool) -> Restored:
    """Make a backup the control plane of these settings, which must not run."""
    os.umask(0o077)
    return restore(*_places(settings, environ), source, force=force, pepper=settings.tokens_pepper)


def _places(settings: ControlPlaneSettings, environ: Mapping[str, str]) -> tuple[Path, Path]:
    """The directory and the database that a start with these settings would use."""
    directory = Path(settings.data_dir) if settings.data_dir else control_plane_directory(environ)
    return directory, path_of(settings.database_url) if settings.database_url else directory / "fledx.db"


def _backups(settings: ControlPlaneSettings, directory: Path, database: Path) -> DailyBackups:
    return DailyBackups(
        directory,
        database,
        interval_seconds=settings.backup_interval_secs,
        keep_seconds=settings.backup_keep_secs,
    )


def _migrated(home: Home) -> list[migrate.Migration]:
    os.umask(0o077)
    return migrate.bring_up(home.database, utc_now())


async def _run(settings: ControlPlaneSettings, home: Home, store: Database, backups: DailyBackups) -> None:
    raise_file_limit()
    stopping = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal, stopping)
        tasks.start_soon(BackupLoop(backups).run)
        await _serve(settings, home, store, backups, stopping)
        tasks.cancel_scope.cancel()


async def _serve(
    settings: ControlPlaneSettings, home: Home, store: Database, backups: DailyBackups, stopping: anyio.Event
) -> None:
    """Make every object, start every loop, and end them in order once `stopping` is set."""
    bell, metrics = Bell(), Metrics()
    ports = (settings.ports_range_start, settings.ports_range_end) if settings.ports_auto_assign else None
    changes = Changes(store, bell, ports, chain=Chain.under(home.pepper))
    _measure(metrics, store, changes)
    tokens = Tokens(
        store,
        pepper=home.pepper,
        operators=home.operators,
        registration=settings.registration_token,
        endpoint=home.endpoint,
        changes=changes,
    )
    audit = AuditLog(store, changes, changes.chain)
    seal, _ = kept(home.directory / "secrets.key")
    dispatch = Dispatch(store, seal, pushed=metrics.pushed)
    changes.tell_nodes(dispatch.changed)
    gateways = Gateways()
    nodes = Nodes(store, changes, tokens, gateways=gateways)
    deployments = Deployments(store, changes, settings.ports_public_host, gateways=gateways)
    secrets = Secrets(store, changes, seal)
    registries = Registries(store, changes, seal)
    if lost := [*secrets.unreadable(), *registries.unreadable()]:
        log.error("secrets.key is not the key these secrets were sealed with: set them again", extra={"secrets": lost})
    reports = Reports(store, changes)
    certificates = Certificates(store, changes, seal)
    draining = Draining(store, changes, gateways, grace=settings.ingress_drain_grace_secs)
    reachability = Reachability(store, changes, dispatch, settings)
    asking = UsageAsking(dispatch)
    heartbeat = settings.tunnel_heartbeat_interval_secs
    operators = Operators(tokens, Targets(store, dispatch), dispatch, bell, audit, metrics, heartbeat)
    volumes = Volumes(store, changes, dispatch)
    agents = Agents(
        nodes,
        tokens,
        dispatch,
        reports,
        reachability,
        Pins(changes),
        volumes,
        heartbeat_secs=heartbeat,
        metrics=metrics,
        audit=audit,
        usage=asking,
        ingress=Ingress(store, changes, gateways, Backends(store, dispatch, metrics, audit), metrics),
    )
    overview = Overview(
        store, dispatch, backups, home.endpoint, _boot.build_id(), certificates=certificates, gateways=gateways
    )
    async with anyio.create_task_group() as tasks:
        app = make_app(
            deployments=deployments,
            revisions=Revisions(store, changes, deployments),
            nodes=nodes,
            fleet=Fleet(store, changes, tokens, dispatch),
            rebalancing=Rebalancing(store, changes, ports),
            tokens=tokens,
            logs=Logs(store, dispatch, bell, tasks),
            events=Events(store, bell),
            configs=Configs(store, changes),
            secrets=secrets,
            certificates=certificates,
            registries=registries,
            operator_tokens=OperatorTokens(store, changes, tokens),
            audit=audit,
            volumes=volumes,
            usage=UsageHistory(store, asking.ask, kept_seconds=settings.retention_usage_window_secs),
            watching=Watching(store, bell, settings.ports_public_host, problems=overview.problems),
            overview=overview,
            settings=settings,
            metrics=metrics,
            authority=home.authority.pem,
            stopping=stopping,
        )
        rollouts, retention = Rollouts(store, changes), Retention(changes, settings)
        for loop in (reports, reachability, tokens, retention, rollouts, draining, Endings(certificates, metrics)):
            tasks.start_soon(loop.run)
        tasks.start_soon(process.watch_loop, metrics)
        await _listen(settings, home, Entrance(agents, {OPERATOR: operators}), app, metrics, tasks, stopping)
        await reachability.flush()
        await tokens.flush()
        tasks.cancel_scope.cancel()


def _measure(metrics: Metrics, store: Database, changes: Changes) -> None:
    """Tell the figures what runs, how long writes take and what the scheduler decides."""
    schema, target = store.read(migrate.version), migrate.known()[-1].version
    metrics.program(version=__version__, build=_boot.build_id(), schema=schema, target=target)
    store.on_transaction = lambda seconds, durable: metrics.transaction(seconds, durable=durable)
    changes.on_decision(lambda occasion, placed, waiting: metrics.decided(occasion, placed=placed, waiting=waiting))
    changes.on_events(metrics.happened)


async def _listen(
    settings: ControlPlaneSettings,
    home: Home,
    entrance: Entrance,
    app: Application,
    metrics: Metrics,
    tasks: TaskGroup,
    stopping: anyio.Event,
) -> None:
    """Open the ports, say where they are, and serve until `stopping` is set."""
    certificate, key, _ = home.certificate(utc_now())
    tls = server_context(str(certificate), str(key))
    api_socket = web.listening(settings.server_host, settings.server_port, "API", "--server-port")
    listener = Listener(
        authenticate=entrance.authenticate,
        on_link=entrance.attend,
        tls=tls if settings.tunnel_use_tls else None,
        authority=home.authority.pem,
    )
    port = settings.tunnel_advertised_port if settings.tunnel_port is None else settings.tunnel_port
    tunnel_port = listener.bind(settings.tunnel_host, port)
    tasks.start_soon(listener.serve)
    metrics.certificate("server", expiry(certificate))
    tasks.start_soon(process.renew, home, tls, metrics)
    process.announce(settings, home, api_socket, tunnel_port, "https" if settings.api_over_tls else "http")
    process.settle()
    await web.serve(app, api_socket, tls if settings.api_over_tls else None, stopping)
