"""What can be done with deployments; each use case is one transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.ingress.gateways import Gateways
from fledx.control_plane.ingress.serving import serving_of
from fledx.control_plane.jobs import run_anew
from fledx.control_plane.listing import deployment_item
from fledx.control_plane.replicas.keeping import give_up, take_over
from fledx.control_plane.replicas.placing import place, release, revise_board, revise_peers, settle_waiting
from fledx.control_plane.revising import new_revision
from fledx.control_plane.store import assignments, claims, events, finished, idempotency, instances, revisions, volumes
from fledx.control_plane.store import configs as config_table
from fledx.control_plane.store import deployments as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.refs import resolve
from fledx.control_plane.view import deployment_view
from fledx.errors import Conflict, FledxError, InvalidSpec, NotFound
from fledx.models import cron
from fledx.models.codec import decode, encode
from fledx.models.deployment import Deployment, DeploymentSpec, patched
from fledx.models.filters import DeploymentFilter
from fledx.models.template import template_hash
from fledx.models.token import Operator

SPEC_FIELDS = frozenset(field.name for field in fields(DeploymentSpec))


class _Preview(Exception):
    """Carries what a dry run found out of the transaction that it undoes."""

    def __init__(self, found: Deployment) -> None:
        self.found = found


class Deployments:
    """Use cases about deployments."""

    def __init__(
        self,
        store: Database,
        changes: Changes,
        public_host: str | None = None,
        *,
        gateways: Gateways | None = None,
    ) -> None:
        self._gateways = gateways or Gateways()
        self._store = store
        self._changes = changes
        self._public_host = public_host

    async def create(
        self,
        spec: DeploymentSpec,
        *,
        by: Operator,
        idempotency_key: str | None = None,
        configs: Sequence[str] = (),
    ) -> Deployment:
        """
        Store a new deployment, with these configs attached, and place its replicas.

        Those that find no place wait with their reasons.

        Conflict when the name is taken. The same idempotency key of the same operator has one effect; with another
        spec it is a Conflict.
        """
        hashed = "" if idempotency_key is None else _hash(spec, configs)

        def work(tx: Transaction) -> str:
            if idempotency_key is not None:
                before = idempotency.remembered(tx.sql, by.name, idempotency_key)
                if before is not None:
                    return _same(before, hashed)
            deployment_id = self._insert(tx, spec, by, configs)
            if idempotency_key is not None:
                idempotency.remember(tx.sql, by.name, idempotency_key, hashed, deployment_id, tx.stamp)
            return deployment_id

        deployment_id = await self._changes.commit(work, occasion="create")
        return self._store.read(lambda sql: self._look(sql, deployment_id, deployment_id))

    def _insert(self, tx: Transaction, spec: DeploymentSpec, by: Operator, configs: Sequence[str] = ()) -> str:
        refuse_zone(spec)
        if (other := table.id_of_name(tx.sql, spec.name)) is not None:
            raise Conflict(
                f"there is a deployment {spec.name} already{_last_touch(tx, other)}",
                hint=f"change it with `fledx deployments update {spec.name}`, or choose another name with --name",
            )
        deployment_id = str(uuid.uuid4())
        for ref in configs:  # before the first revision, which sees what is attached by then
            config_table.attach(tx.sql, resolve(tx.sql, "config", ref), "deployment", deployment_id, tx.stamp)
        table.insert(tx.sql, deployment_id, spec, by.name, tx.stamp)
        if spec.ingress:
            _claim(tx, deployment_id, spec)
        revise_peers(tx, spec.name)
        taken = take_over(tx, deployment_id, spec)
        tx.event("deployment.created", spec.name, f"created by {by.name}", deployment_id=deployment_id)
        for each in taken:
            reason = f"takes over {each.name} on {each.node}, which a deployment of its name has left"
            tx.event("volume.kept", spec.name, reason, deployment_id=deployment_id, replica_number=each.replica_number)
        tx.audit("deployment.create", by, id=deployment_id, name=spec.name, after=encode(spec))
        tx.touched.add(deployment_id)
        if spec.desired_state == "running":
            place(tx, _stored(tx, deployment_id), range(spec.replicas), why="new")
        return deployment_id

    async def preview(self, spec: DeploymentSpec, *, by: Operator, configs: Sequence[str] = ()) -> Deployment:
        """What a create would do, with nothing stored: the assignments, and the reasons of those that would wait."""

        def work(tx: Transaction) -> None:
            deployment_id = self._insert(tx, spec, by, configs)
            raise _Preview(deployment_view(tx.sql, _stored(tx, deployment_id), self._public_host))

        try:
            await self._changes.commit(work)
        except _Preview as preview:
            return preview.found
        raise AssertionError("a preview always ends by its exception")

    def get(self, ref: str) -> Deployment:
        """One deployment, whole, by name, id or the beginning of an id."""

        return self._store.read(lambda sql: self._look(sql, resolve(sql, "deployment", ref), ref))

    def _look(self, sql: sqlite3.Connection, deployment_id: str, ref: str) -> Deployment:
        stored = table.by_id(sql, deployment_id)
        if stored is None:
            raise NotFound(f"no deployment {ref!r}")
        whole = deployment_view(sql, stored, self._public_host)
        return replace(whole, serving=serving_of(sql, stored, self._gateways)) if stored.spec.ingress else whole

    def page(self, wanted: DeploymentFilter, *, limit: int, offset: int) -> tuple[list[bytes], int]:
        """A page of deployments by name, each as JSON without its instances, and how many there are in all."""

        def look(sql: sqlite3.Connection) -> tuple[list[bytes], int]:
            narrowed = wanted
            if wanted.node is not None:
                narrowed = replace(wanted, node=resolve(sql, "node", wanted.node))
            rows, total = table.page(sql, narrowed, limit=limit, offset=offset)
            owners = assignments.rows_of_deployments(sql, [row["id"] for row in rows])
            return [deployment_item(row, owners[row["id"]], self._public_host) for row in rows], total

        return self._store.read(look)

    async def patch(
        self, ref: str, changes: Mapping[str, Any], *, by: Operator, generation: int | None = None
    ) -> Deployment:
        """
        Change the fields that are named: null leaves one as it is, an empty list or map clears it.

        Conflict when `generation` is given and the deployment has moved on from it.
        """

        def work(tx: Transaction) -> str:
            stored = expected(tx, ref, generation)
            merged = patched(encode(stored.spec), changes, SPEC_FIELDS)
            self.apply(tx, stored, decode(DeploymentSpec, merged), by)
            return stored.id

        return self.get(await self._changes.commit(work, occasion="update"))

    async def replace(
        self, ref: str, spec: DeploymentSpec, *, by: Operator, generation: int | None = None
    ) -> Deployment:
        """Replace the whole spec."""

        def work(tx: Transaction) -> str:
            stored = expected(tx, ref, generation)
            restarted = spec.restarted_at or stored.spec.restarted_at  # a file that says nothing of it restarts nothing
            self.apply(tx, stored, replace(spec, restarted_at=restarted), by)
            return stored.id

        return self.get(await self._changes.commit(work, occasion="update"))

    def apply(self, tx: Transaction, stored: Stored, spec: DeploymentSpec, by: Operator) -> None:
        """Bring a deployment to a new spec; what did not change is left alone, and nothing at all if nothing did."""
        before, after = encode(stored.spec), encode(spec)
        changed = sorted(key for key in SPEC_FIELDS if before.get(key) != after.get(key))
        if not changed:
            return
        refuse_mode(stored.spec, spec)
        refuse_zone(spec)
        if spec.name.lower() != stored.spec.name.lower() and table.id_of_name(tx.sql, spec.name) is not None:
            raise Conflict(f"there is a deployment {spec.name} already", hint="choose another name")
        if spec.name != stored.spec.name:
            volumes.rename(tx.sql, stored.id, spec.name)
        revision = stored.revision
        if revisions.template_of(before) != revisions.template_of(after):
            revision = new_revision(tx, stored, spec, by=by.name)
        table.update(tx.sql, stored.id, spec, generation=stored.generation + 1, revision=revision, now=tx.stamp)
        _claim(tx, stored.id, spec)
        if changed == ["restarted_at"]:
            reason = f"new containers wanted by {by.name}"
        else:
            reason = f"{', '.join(changed)} changed by {by.name}"
        tx.event("deployment.updated", spec.name, reason, deployment_id=stored.id)
        tx.audit(_action(changed, spec), by, id=stored.id, name=spec.name, before=before, after=after)
        if spec.name != stored.spec.name:
            revise_peers(tx, spec.name)
        self._follow(tx, _stored(tx, stored.id), reason)
        if template_hash(before) != template_hash(after):
            run_anew(tx, _stored(tx, stored.id), why=reason)

    def _follow(self, tx: Transaction, now: Stored, why: str) -> None:
        """Assignments follow the spec: more or fewer replicas, requests as they are now; a rollout does the rest."""
        owned = {given.replica_number for given in assignments.of_deployment(tx.sql, now.id)}
        tx.touched.add(now.id)
        tx.touched_nodes |= {given.node_id for given in assignments.of_deployment(tx.sql, now.id)}
        if now.spec.mode != "global":
            assignments.set_extra(tx.sql, now.id, now.spec.replicas)
        waiting = [each.replica_number for each in assignments.pending_of(tx.sql, now.id)]
        surplus = [number for number in [*sorted(owned), *waiting] if now.is_extra(number)]
        if surplus:
            release(tx, now, surplus, why=why)
        revise_board(tx, now)
        if now.spec.desired_state == "stopped":
            release(tx, now, waiting, why=why)
            return
        had = {*owned, *finished.of_deployment(tx.sql, now.id)}
        missing = [number for number in range(now.spec.replicas) if number not in had]
        finished.forget(tx.sql, now.id, [number for number in had if now.is_extra(number)])
        if missing or now.spec.mode == "global":
            place(tx, now, missing, why=why)
        settle_waiting(tx)

    async def delete(
        self, ref: str, *, by: Operator, generation: int | None = None, drop_volumes: bool = False
    ) -> None:
        """
        Remove a deployment; its agents remove the containers, those that are away when they come back.

        The data in its volumes by name stays where it lies for the next of its name, unless `drop_volumes`.
        Conflict when `generation` is given and the deployment has moved on from it.
        """

        def work(tx: Transaction) -> None:
            stored = expected(tx, ref, generation)
            numbers = [given.replica_number for given in assignments.of_deployment(tx.sql, stored.id)]
            release(tx, stored, numbers, why=f"deployment deleted by {by.name}")
            gone = give_up(tx, stored, drop=drop_volumes)
            with_volumes = f", with {gone} volume{'' if gone == 1 else 's'} of data" if gone else ""
            reason = f"deleted by {by.name}{with_volumes}"
            tx.event("deployment.deleted", stored.spec.name, reason, deployment_id=stored.id)
            action = "deployment.delete_volumes" if gone else "deployment.delete"
            tx.audit(action, by, id=stored.id, name=stored.spec.name, before=encode(stored.spec))
            instances.forget_deployment(tx.sql, stored.id)
            table.delete(tx.sql, stored.id)
            settle_waiting(tx)

        await self._changes.commit(work)

    async def watch(self, ref: str) -> AsyncGenerator[Deployment, None]:
        """The deployment now, and again whenever anything about it changes; ends when it is deleted."""
        deployment_id = self.get(ref).deployment_id
        last: Deployment | None = None
        with self._changes.bell.listen(deployment_id) as ear:
            while True:
                try:
                    now = self.get(deployment_id)
                except NotFound:
                    return
                if now != last:
                    yield now
                    last = now
                await ear.wait()


def _claim(tx: Transaction, deployment_id: str, spec: DeploymentSpec) -> None:
    """Take the hosts and paths of a spec; Conflict that names who has one of them. Stopped or not, they are kept."""
    rules = spec.ingress or ()
    if (lost := claims.taken(tx.sql, rules, deployment_id)) is not None:
        rule, name = lost
        raise Conflict(
            f"deployment {name} serves {rule.host}{rule.path} ({rule.path_type}) already",
            hint=f"choose another host or path, or free it with `fledx deployments update {name} --clear-ingress`",
        )
    claims.put(tx.sql, deployment_id, rules)


def _action(changed: Sequence[str], spec: DeploymentSpec) -> str:
    """What a change is called in the audit log."""
    if "desired_state" in changed:
        return "deployment.stop" if spec.desired_state == "stopped" else "deployment.start"
    return "deployment.restart" if changed == ["restarted_at"] else "deployment.update"


def _hash(spec: DeploymentSpec, configs: Sequence[str]) -> str:
    asked = [encode(spec), *configs] if configs else encode(spec)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _same(before: sqlite3.Row, hashed: str) -> str:
    if before["request_hash"] != hashed:
        raise Conflict("this Idempotency-Key was used for another request", hint="use a new key for a new request")
    return str(before["deployment_id"])


def _stored(tx: Transaction, deployment_id: str) -> Stored:
    stored = table.by_id(tx.sql, deployment_id)
    if stored is None:
        raise FledxError(f"deployment {deployment_id} vanished within its own transaction")
    return stored


def _last_touch(tx: Transaction, deployment_id: str) -> str:
    """Who changed it last and when, for whoever comes too late."""
    last = events.last_of(tx.sql, deployment_id, ("deployment.created", "deployment.updated"))
    return "" if last is None else f" ({last.reason} at {last.at})"


def expected(tx: Transaction, ref: str, generation: int | None) -> Stored:
    """The deployment to change; Conflict when it is not at the generation that the change was made for."""
    stored = _stored(tx, resolve(tx.sql, "deployment", ref))
    if generation is not None and generation != stored.generation:
        raise Conflict(
            f"{stored.spec.name} is at generation {stored.generation}, not {generation}: somebody changed it meanwhile"
            f"{_last_touch(tx, stored.id)}",
            hint=f"look at it with `fledx deployments show {stored.spec.name}` and try again",
        )
    return stored


def refuse_zone(spec: DeploymentSpec) -> None:
    """InvalidSpec for a time zone that nobody can reckon with here."""
    if spec.timezone is not None and (fault := cron.zone_fault(spec.timezone)) is not None:
        raise InvalidSpec("timezone", fault)


def refuse_mode(before: DeploymentSpec, after: DeploymentSpec) -> None:
    """InvalidSpec for a deployment that would become something else: what it has would mean nothing any more."""
    if before.mode != after.mode:
        fault = f"cannot become {after.mode}, as it is {before.mode}: make another deployment"
        raise InvalidSpec("mode", fault)
