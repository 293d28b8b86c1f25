"""What can be done with configs; each use case is one transaction, and whoever uses a config follows its change."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.delivery import roll
from fledx.control_plane.resolving import delivery_of
from fledx.control_plane.store import assignments, deployments, nodes, revisions
from fledx.control_plane.store import configs as table
from fledx.control_plane.store.database import Database
from fledx.control_plane.store.deployments import Stored
from fledx.control_plane.store.refs import resolve
from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models.assignment import Assignment
from fledx.models.check import shown
from fledx.models.codec import decode, encode
from fledx.models.config import (
    Attachment,
    Config,
    ConfigItem,
    ConfigMetadata,
    ConfigSpec,
    Environment,
    Origin,
    changed,
    refuse_unknown,
)
from fledx.models.token import Operator

MASK = "********"


class Configs:
    """Use cases about configs."""

    def __init__(self, store: Database, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def create(self, spec: ConfigSpec, *, by: Operator) -> Config:
        """Store a new config; Conflict when its name is taken."""

        def work(tx: Transaction) -> str:
            _refuse_taken(tx.sql, spec.name)
            config_id = str(uuid.uuid4())
            table.insert(tx.sql, config_id, spec, tx.stamp)
            tx.event("config.created", spec.name, f"created by {by.name}")
            tx.audit("config.create", by, id=config_id, name=spec.name, after=encode(spec))
            return config_id

        return self.get(await self._changes.commit(work))

    def get(self, ref: str) -> Config:
        """One config by name, id or the beginning of an id."""
        return self._store.read(lambda sql: _shown(sql, _found(sql, ref)))

    def page(self, *, name: str | None = None, limit: int, offset: int) -> tuple[list[ConfigItem], int]:
        """A page of configs, the last changed first, and how many there are in all."""
        rows, total = self._store.read(lambda sql: table.page(sql, name=name, limit=limit, offset=offset))
        return [_item(row) for row in rows], total

    async def update(self, ref: str, changes: Mapping[str, Any], *, by: Operator) -> Config:
        """
        Change the fields that are named; entries and files are replaced as a whole, null leaves them as they are.

        The version rises by one, or to the given one, which has to be higher than before. Deployments that use the
        config roll if what they are given has changed.
        """
        refuse_unknown(changes)

        def work(tx: Transaction) -> str:
            row = _found(tx.sql, ref)
            before = table.spec_of(row["name"], row["version"], row["body"])
            given = {key: value for key, value in changes.items() if value is not None}
            after = changed(before, given, decode(ConfigSpec, {"name": row["name"], **given}))
            version = after.version if after.version is not None else int(row["version"]) + 1
            if version <= row["version"]:
                raise InvalidSpec("version", f"{version} is not above the present one, {row['version']}")
            if after.name.lower() != before.name.lower():
                _refuse_taken(tx.sql, after.name)
            table.replace(tx.sql, row["id"], after, version, tx.stamp)
            why = f"config {after.name} changed to version {version}"
            tx.event("config.updated", after.name, f"changed to version {version} by {by.name}")
            tx.audit("config.update", by, id=row["id"], name=after.name, before=encode(before), after=encode(after))
            if (after.entries, after.files, after.name) != (before.entries, before.files, before.name):
                roll(tx, table.deployments_with(tx.sql, row["id"]), why=why, by=by.name)
            return str(row["id"])

        return self.get(await self._changes.commit(work))

    async def delete(self, ref: str, *, by: Operator) -> ConfigMetadata:
        """Remove a config and detach it everywhere; deployments that used it roll without it."""

        def work(tx: Transaction) -> ConfigMetadata:
            row = _found(tx.sql, ref)
            concerned = table.deployments_with(tx.sql, row["id"])
            table.delete(tx.sql, row["id"])
            tx.event("config.deleted", row["name"], f"deleted by {by.name}")
            tx.audit("config.delete", by, id=row["id"], name=row["name"])
            roll(tx, concerned, why=f"config {row['name']} deleted", by=by.name)
            return table.metadata_of(row)

        return await self._changes.commit(work)

    async def attach(self, ref: str, kind: str, target: str, *, by: Operator) -> tuple[Attachment, bool]:
        """
        Attach a config to a deployment or node (`kind`); how it is attached now, and whether that is new.

        The deployments concerned roll.
        """

        def work(tx: Transaction) -> tuple[Attachment, bool]:
            row = _found(tx.sql, ref)
            target_id = resolve(tx.sql, kind, target)
            since, new = table.attach(tx.sql, row["id"], kind, target_id, tx.stamp)
            if new:
                self._follow(tx, row, kind, target_id, "attached to", by)
            return _attachment(row, kind, target_id, since), new

        return await self._changes.commit(work)

    async def detach(self, ref: str, kind: str, target: str, *, by: Operator) -> Attachment:
        """Detach a config from a deployment or node; one that was not attached stays so."""

        def work(tx: Transaction) -> Attachment:
            row = _found(tx.sql, ref)
            target_id = resolve(tx.sql, kind, target)
            if table.detach(tx.sql, row["id"], kind, target_id):
                self._follow(tx, row, kind, target_id, "detached from", by)
            return _attachment(row, kind, target_id, None)

        return await self._changes.commit(work)

    def environment(self, ref: str, number: int) -> Environment:
        """
        Where each variable and file of a replica comes from; no values.

        NotFound for a number beyond the replicas. One that has no owner yet is shown without a node's configs.
        """

        def look(sql: sqlite3.Connection) -> Environment:
            stored = deployments.by_id(sql, resolve(sql, "deployment", ref))
            owned = (
                {} if stored is None else {one.replica_number: one for one in assignments.of_deployment(sql, stored.id)}
            )
            given = owned.get(number)
            if stored is None or (given is None and number >= stored.spec.replicas):
                raise NotFound(f"no replica {number} of {shown(ref)}")
            return _environment(sql, stored, number, given)

        return self._store.read(look)

    def _follow(self, tx: Transaction, row: sqlite3.Row, kind: str, target_id: str, what: str, by: Operator) -> None:
        action = "attach" if what == "attached to" else "detach"
        tx.audit(f"config.{action}.{kind}", by, id=row["id"], name=row["name"], after={f"{kind}_id": target_id})
        of_node = kind == "node"
        found = nodes.by_id(tx.sql, target_id) if of_node else deployments.heading(tx.sql, target_id)
        target = f"{kind} {found['name'] if found else target_id}"
        tx.event(
            f"config.{action}ed",
            row["name"],
            f"{what} {target} by {by.name}",
            node_id=target_id if of_node else None,
            deployment_id=None if of_node else target_id,
        )
        concerned = assignments.deployments_on(tx.sql, target_id) if of_node else {target_id}
        roll(tx, concerned, why=f"config {row['name']} {what} {target}", by=by.name)


def _refuse_taken(sql: sqlite3.Connection, name: str) -> None:
    if table.id_of_name(sql, name) is not None:
        raise Conflict(
            f"there is a config {name} already",
            hint=f"change it with `fledx configs update {name}`, or choose another name",
        )


def _found(sql: sqlite3.Connection, ref: str) -> sqlite3.Row:
    row = table.by_id(sql, resolve(sql, "config", ref))
    if row is None:
        raise NotFound(f"no config {ref!r}")
    return row


def _shown(sql: sqlite3.Connection, row: sqlite3.Row) -> Config:
    spec, used = table.spec_of(row["name"], row["version"], row["body"]), table.users(sql, row["id"])
    return Config(
        metadata=table.metadata_of(row),
        entries=spec.entries,
        files=spec.files,
        attached_deployments=tuple(each[0] for each in used["deployment"]),
        attached_nodes=tuple(each[0] for each in used["node"]),
        deployments=tuple(each[1] for each in used["deployment"]),
        nodes=tuple(each[1] for each in used["node"]),
    )


def _item(row: sqlite3.Row) -> ConfigItem:
    spec = table.spec_of(row["name"], row["version"], row["body"])
    return ConfigItem(metadata=table.metadata_of(row), entry_count=len(spec.entries), file_count=len(spec.files))


def _environment(sql: sqlite3.Connection, stored: Stored, number: int, given: Assignment | None) -> Environment:
    revision = given.revision if given else stored.revision
    owner = given or Assignment(replica_number=number, node_id="", revision=revision)
    template = revisions.templates(sql, {(stored.id, revision)})[stored.id, revision]
    found = delivery_of(sql, stored.id, template, owner)
    row = nodes.by_id(sql, owner.node_id)
    known = {*found.sealed, *(nodes.own_secrets(row) if row is not None else ())}
    variables = (
        Origin(
            name=each.name,
            origin=each.origin,
            value=MASK,
            secret=each.secret,
            optional=each.optional,
            missing=each.secret is not None and each.secret not in known,
        )
        for _, each in sorted(found.variables.items())
    )
    files = [Origin(name=path, origin=found.origins[path]) for path in found.files]
    files += [
        Origin(
            name=file.path,
            origin=found.origins[file.path],
            secret=file.secret,
            optional=file.optional,
            missing=file.secret not in known,
        )
        for file in found.secret_files
    ]
    return Environment(
        deployment_id=stored.id,
        name=stored.spec.name,
        replica_number=number,
        node=given.node if given else None,
        revision=revision,
        variables=tuple(variables),
        files=tuple(sorted(files, key=lambda file: file.name)),
    )


def _attachment(row: sqlite3.Row, kind: str, target_id: str, since: str | None) -> Attachment:
    return Attachment(
        metadata=table.metadata_of(row),
        deployment_id=target_id if kind == "deployment" else None,
        node_id=target_id if kind == "node" else None,
        attached=since is not None,
        attached_at=since,
    )
