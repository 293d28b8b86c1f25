"""Configs: named, versioned sets of variables and files that deployments and nodes have attached."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fledx.errors import InvalidSpec
from fledx.models import check
from fledx.models.check import Faults, absolute_path, env_name, secret_name, shown

MAX_VALUE_BYTES = 4096
MAX_FILE_BYTES = 1024 * 1024
MAX_ITEMS = 1000


@dataclass(frozen=True, kw_only=True)
class ConfigEntry:
    """One variable: its value, or the name of the secret that is its value."""

    key: str
    value: str | None = None
    secret_ref: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("key", env_name(self.key))
        if (self.value is None) == (self.secret_ref is None):
            faults.add("", "has to have either a value or a secret_ref")
        if self.value is not None:
            faults.add("value", _value_fault(self.value))
        if self.secret_ref is not None:
            faults.add("secret_ref", secret_name(self.secret_ref))
        faults.settle()


def _value_fault(value: str) -> str | None:
    if len(value.encode(errors="surrogatepass")) > MAX_VALUE_BYTES:
        return f"is longer than {MAX_VALUE_BYTES} bytes"
    return check.env_value(value)


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """
    One file in the container: its content as text or in base64, or the name of the secret that is its content.

    At most 1 MiB.
    """

    path: str
    file_ref: str | None = None
    content: str | None = None
    content_base64: str | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("path", absolute_path(self.path))
        if sum(each is not None for each in (self.file_ref, self.content, self.content_base64)) != 1:
            faults.add("", "has to have one of content, content_base64 and file_ref (the name of a secret)")
        if self.file_ref is not None:
            faults.add("file_ref", secret_name(self.file_ref))
        if self.content_base64 is not None and not _is_base64(self.content_base64):
            faults.add("content_base64", "is not base64")
        elif len(self.raw or b"") > MAX_FILE_BYTES:
            faults.add("", f"is larger than {MAX_FILE_BYTES} bytes")
        faults.settle()

    @property
    def raw(self) -> bytes | None:
        """The content, None when it is a secret's."""
        if self.content_base64 is not None:
            return base64.b64decode(self.content_base64)
        return None if self.content is None else self.content.encode(errors="surrogatepass")


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class ConfigSpec:
    """
    What an operator writes.

    ``version`` None is 1 for a new config and the next one for a change. Keys and paths are unique in any case of
    letters; entries are sorted by key, files by path. Plain and secret entries stand in different configs, as in
    fledx-core: whoever may read a config may read all of it.
    """

    name: str
    version: int | None = None
    entries: tuple[ConfigEntry, ...] = ()
    files: tuple[ConfigFile, ...] = ()

    def __post_init__(self) -> None:
        faults = Faults()
        faults.add("name", check.name(self.name))
        if self.version is not None and not 1 <= self.version < 2**53:
            faults.add("version", f"{self.version} is less than 1" if self.version < 1 else "is too large")
        faults.found += _doubled("entries", "key", (entry.key for entry in self.entries))
        faults.found += _doubled("files", "path", (file.path for file in self.files))
        if {entry.value is None for entry in self.entries} == {True, False}:
            faults.add("entries", "has plain values and secrets; put the secrets into a config of their own")
        faults.settle()
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.key)))
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))


def _doubled(field: str, what: str, words: Iterable[str]) -> list[tuple[str, str]]:
    seen: set[str] = set()
    found = []
    for i, word in enumerate(words):
        if word.lower() in seen:
            found.append((f"{field}[{i}]", f"{what} {shown(word)} is listed twice"))
        seen.add(word.lower())
    if len(seen) > MAX_ITEMS:
        found.append((field, f"has more than {MAX_ITEMS} items"))
    return found


CHANGEABLE = ("name", "version", "entries", "files")


def changed(spec: ConfigSpec, changes: Mapping[str, Any], decoded: ConfigSpec) -> ConfigSpec:
    """`spec` with those fields of `decoded` that `changes` names; null and absent leave a field as it is."""
    given = [field for field in CHANGEABLE if changes.get(field) is not None]
    return replace(spec, **{"version": None, **{field: getattr(decoded, field) for field in given}})


def refuse_unknown(changes: Mapping[str, Any]) -> None:
    """InvalidSpec for fields a config does not have."""
    problems = [(key[:60], "is not a field of a config") for key in changes if key not in CHANGEABLE]
    if problems:
        raise InvalidSpec.of(problems)


@dataclass(frozen=True, kw_only=True)
class ConfigMetadata:
    """What identifies a config; times are RFC 3339 in UTC."""

    config_id: str
    name: str
    version: int
    created_at: str
    updated_at: str


@dataclass(frozen=True, kw_only=True)
class Config:
    """A config as the API shows it; what it is attached to by id, and by name in ``deployments`` and ``nodes``."""

    metadata: ConfigMetadata
    entries: tuple[ConfigEntry, ...] = ()
    files: tuple[ConfigFile, ...] = ()
    attached_deployments: tuple[str, ...] = ()
    attached_nodes: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConfigItem:
    """A config in a list."""

    metadata: ConfigMetadata
    entry_count: int
    file_count: int


@dataclass(frozen=True, kw_only=True)
class Origin:
    """
    Where a variable or file of a container is from: ``node config NAME``, ``config NAME``, ``env``, or a secret field.

    ``value`` is a mask. ``secret`` is the secret it is filled from, ``missing`` tells that it is not known here.
    """

    name: str
    origin: str
    value: str | None = None
    secret: str | None = None
    optional: bool = False
    missing: bool = False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one replica is given at its revision; without an owner yet, what any node would give."""

    deployment_id: str
    name: str
    replica_number: int
    node: str | None = None
    revision: int
    variables: tuple[Origin, ...] = ()
    files: tuple[Origin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """Whether a config is attached to a deployment or a node now, and since when."""

    metadata: ConfigMetadata
    deployment_id: str | None = None
    node_id: str | None = None
    attached: bool
    attached_at: str | None = None
