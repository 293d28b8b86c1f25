"""
What a replica is given beside its image: variables and files out of its spec, of configs and of secrets.

A replica sees everything as it was when its revision was made, and the configs of its node as they were then or when it
came there, whichever is later. So a change reaches it with a revision, step by step, and old and new never mix.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fledx.control_plane.changes import Transaction
from fledx.control_plane.revising import new_revision
from fledx.control_plane.store import configs, deployments, nodes, revisions, secrets
from fledx.control_plane.store.secrets import Sealed
from fledx.models.codec import decode_lenient, encode
from fledx.models.config import ConfigFile, ConfigSpec
from fledx.models.desired import ReplicaFile
from fledx.models.secret import SecretEnv, SecretFile, SecretValue
from fledx.models.template import Template
from fledx.sealing import Seal, Unsealable


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Where the counter of configs and secrets stood for a replica's revision, and for its node."""

    revision: int
    node: int

    @classmethod
    def of(cls, revision: int, arrived: int) -> Moments:
        """`arrived` is when the replica came to its node."""
        return cls(revision=revision, node=max(revision, arrived))


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable of a container: a value, or a secret's name; ``origin`` says where it is from."""

    name: str
    origin: str
    value: str | None = None
    secret: str | None = None
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """
    All of it for one replica, by name and by path.

    ``sealed`` holds the secrets the control plane has, ``absent`` names those it lacks and that are not optional.
    ``origins`` says by path where a file is from.
    """

    variables: Mapping[str, Variable]
    files: Mapping[str, ConfigFile]
    secret_files: tuple[SecretFile, ...]
    sealed: Mapping[str, Sealed]
    absent: frozenset[str]
    origins: Mapping[str, str]

    @classmethod
    def plain(cls, template: Mapping[str, Any]) -> Delivery:
        """That of a template that refers to nothing, with nothing attached."""
        own = template.get("env") or {}
        variables = {name: Variable(name=name, origin="env", value=value) for name, value in own.items()}
        return cls(variables=variables, files={}, secret_files=(), sealed={}, absent=frozenset(), origins={})

    def fields(self) -> dict[str, Any]:
        """What the encoded template of the replica gets instead of its own fields."""
        plain = {each.name: each.value for each in self.variables.values() if each.value is not None}
        named = [
            SecretEnv(name=each.name, secret=each.secret, optional=each.optional)
            for each in self.variables.values()
            if each.secret is not None
        ]
        return {
            "env": plain or None,
            "secret_env": encode(named) or None,
            "secret_files": encode(self.secret_files) or None,
            "files": [encode(_packed(file)) for _, file in sorted(self.files.items())],
            "secrets_digest": digest(self.sealed.values()),
        }

    def values(self, seal: Seal) -> tuple[SecretValue, ...]:
        """The secrets opened; one that was sealed with a key that is lost is left out."""
        return tuple(_opened(self.sealed.values(), seal))


def _packed(file: ConfigFile) -> ReplicaFile:
    return ReplicaFile(path=file.path, content=base64.b64encode(file.raw or b"").decode("ascii"))


def digest(found: Iterable[Sealed]) -> str | None:
    """One mark for all secrets of a replica, made of their own marks; None if it has none."""
    marks = [f"{each.name} {each.digest}" for each in sorted(found, key=lambda each: each.name)]
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16] if marks else None


def _opened(found: Iterable[Sealed], seal: Seal) -> Iterator[SecretValue]:
    for each in found:
        try:
            yield SecretValue.of(each.name, seal.unseal(each.sealed, each.context))
        except Unsealable:
            continue


def delivered(
    sql: sqlite3.Connection, deployment_id: str, template: Mapping[str, Any], node_id: str, moments: Moments
) -> Delivery:
    """
    What a replica of this encoded template gets on this node.

    Precedence, the later wins: the node's configs by name, the deployment's configs by name, the spec's own variables,
    its secret ones. A config attached to both counts as the deployment's. A file of a config gives way to a volume or
    a secret file of the spec at the same path.
    """
    own = configs.attached(sql, "deployment", deployment_id, moments.revision)
    of_node = configs.attached(sql, "node", node_id, moments.node)
    below = {config_id: spec for config_id, spec in of_node.items() if config_id not in own}
    if not own and not below and not template.get("secret_env") and not template.get("secret_files"):
        return Delivery.plain(template)
    spec = decode_lenient(Template, template)
    variables = _variables(below.values(), own.values(), spec)
    origins, files = _files(below.values(), own.values(), spec)
    secret_files = (*(spec.secret_files or ()), *_secret_files(files))
    needed = _needed(variables, secret_files)
    early = {ref for each in own.values() for ref in _refs(each)}
    early |= {each.secret for each in spec.secret_env or ()} | {file.secret for file in spec.secret_files or ()}
    found = {
        name: each
        for name in sorted(needed)
        if (each := secrets.at(sql, name, moments.revision if name in early else moments.node)) is not None
    }
    return Delivery(
        variables=variables,
        files={path: file for path, file in files.items() if file.file_ref is None},
        secret_files=secret_files,
        sealed=found,
        absent=frozenset(name for name, optional in needed.items() if not optional and name not in found),
        origins={**origins, **{file.path: "secret file" for file in spec.secret_files or ()}},
    )


def _levels(below: Iterable[ConfigSpec], own: Iterable[ConfigSpec]) -> Iterator[tuple[str, ConfigSpec]]:
    """Configs in the order in which the later wins, each with what it is called as an origin."""
    yield from ((f"node config {config.name}", config) for config in below)
    yield from ((f"config {config.name}", config) for config in own)


def _variables(below: Iterable[ConfigSpec], own: Iterable[ConfigSpec], spec: Template) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    for origin, config in _levels(below, own):
        for entry in config.entries:
            found[entry.key] = Variable(name=entry.key, origin=origin, value=entry.value, secret=entry.secret_ref)
    for name, value in (spec.env or {}).items():
        found[name] = Variable(name=name, origin="env", value=value)
    for each in spec.secret_env or ():
        found[each.name] = Variable(name=each.name, origin="secret env", secret=each.secret, optional=each.optional)
    return found


def _files(
    below: Iterable[ConfigSpec], own: Iterable[ConfigSpec], spec: Template
) -> tuple[dict[str, str], dict[str, ConfigFile]]:
    """By path, where each file of a config is from, and the files."""
    taken = {mount.container_path for mount in spec.volumes or ()} | {file.path for file in spec.secret_files or ()}
    origins, found = {}, {}
    for origin, config in _levels(below, own):
        for file in config.files:
            if file.path not in taken:
                origins[file.path], found[file.path] = origin, file
    return origins, found


def _secret_files(files: Mapping[str, ConfigFile]) -> Iterator[SecretFile]:
    for path, file in sorted(files.items()):
        if file.file_ref is not None:
            yield SecretFile(path=path, secret=file.file_ref)


def _refs(config: ConfigSpec) -> Iterator[str]:
    yield from (entry.secret_ref for entry in config.entries if entry.secret_ref is not None)
    yield from (file.file_ref for file in config.files if file.file_ref is not None)


def _needed(variables: Mapping[str, Variable], files: Iterable[SecretFile]) -> dict[str, bool]:
    """Names of secrets, and whether every reference to it is optional."""
    found: dict[str, bool] = {}
    for each in variables.values():
        if each.secret is not None:
            found[each.secret] = found.get(each.secret, True) and each.optional
    for file in files:
        found[file.secret] = found.get(file.secret, True) and file.optional
    return found


def missing_for(sql: sqlite3.Connection, deployment_id: str, revision: int, node_id: str) -> str | None:
    """
    Why a replica on this node cannot be brought to a revision: secrets that neither the control plane nor the node has.

    None when nothing is missing.
    """
    template = revisions.template(sql, deployment_id, revision)
    row = nodes.by_id(sql, node_id)
    if template is None or row is None:
        return None
    at = revisions.content_of(sql, deployment_id, revision)
    found = delivered(sql, deployment_id, template, node_id, Moments.of(at, at))
    missing = sorted(found.absent - set(nodes.own_secrets(row)))
    if not missing:
        return None
    words = f"secret {missing[0]} does" if len(missing) == 1 else f"secrets {', '.join(missing)} do"
    return f"{words} not exist, neither here nor on node {row['name']}: `fledx secrets set {missing[0]}` makes it"


def roll(tx: Transaction, deployment_ids: Iterable[str], *, why: str, by: str) -> None:
    """
    Give these deployments a new revision that sees configs and secrets as they are now.

    Their specs are what they were; the rollout takes it from here.
    """
    for deployment_id in sorted(deployment_ids):
        stored = deployments.by_id(tx.sql, deployment_id)
        if stored is None or (stored.spec.is_once and stored.status not in ("pending", "deploying")):
            continue  # a job that runs goes on as it began, and one that has ended does not run again for this
        revision = new_revision(tx, stored, stored.spec, by=by)
        deployments.update(
            tx.sql, stored.id, stored.spec, generation=stored.generation, revision=revision, now=tx.stamp
        )
        tx.event("deployment.updated", stored.spec.name, f"{why} by {by}", deployment_id=stored.id)
        tx.touched.add(stored.id)


def users(sql: sqlite3.Connection) -> dict[str, set[str]]:
    """By the name of a secret: the deployments that are given it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, deployment_id in secrets.references(sql):
        found[name].add(deployment_id)
    return found
