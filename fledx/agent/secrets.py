"""What a container gets of secrets and configs: the node's own values first, then those the control plane sent."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from fledx.agent.memory import MemoryFile, MemoryFiles
from fledx.agent.runtime.containers import Mount
from fledx.agent.spec import Key
from fledx.errors import InvalidSpec, NotFound
from fledx.models.desired import ReplicaDesired
from fledx.models.secret import SecretFile

CONFIG_MODE = 0o444


class NodeSecrets:
    """
    Looks secrets up.

    A secret ``db`` is the variable ``FLEDX_SECRET_db`` of the agent (prefix by setting), else, for a file, the file
    ``db`` in the node's directory, else what the control plane sent with the replica.
    """

    def __init__(
        self, environ: Mapping[str, str], *, prefix: str, directory: str, memory: MemoryFiles | None = None
    ) -> None:
        self._values = {name: value for name, value in environ.items() if name.startswith(prefix)}
        self._prefix = prefix
        self._directory = directory
        self._memory = memory

    def names(self) -> tuple[str, ...]:
        """Which secrets this node has of its own."""
        found = {name.removeprefix(self._prefix) for name in self._values}
        with contextlib.suppress(OSError):
            found |= {entry.name for entry in os.scandir(self._directory) if self._file(entry.name) is not None}
        return tuple(sorted(found - {""}))

    def variables(self, replica: ReplicaDesired) -> dict[str, str]:
        """Values by the name of the variable; a missing one that is not optional raises NotFound."""
        found = {}
        for each in replica.secret_env or ():
            value = self._value(each.secret, replica)
            if value is not None:
                found[each.name] = _text(each.secret, value)
            elif not each.optional:
                raise self._missing(each.secret, replica)
        return found

    def mounts(self, replica: ReplicaDesired) -> tuple[Mount, ...]:
        """
        Files to mount read-only, from secrets and from configs.

        Raises NotFound for a secret that is missing and not optional, InvalidSpec when there is no place in memory.
        """
        ready, made = [], []
        for each in replica.secret_files or ():
            found = self._found(each, replica)
            if isinstance(found, Mount):
                ready.append(found)
            elif found is not None:
                made.append(found)
            elif not each.optional:
                raise self._missing(each.secret, replica)
        made += _config_files(replica)
        if not made:
            return tuple(ready)
        if self._memory is None:
            raise NotFound("this agent has no place for files that lie in memory")
        return (*ready, *self._memory.put(replica.key, replica.template, made))

    def sweep(self, keep: Collection[tuple[Key, str]]) -> None:
        """Forget what was written for containers that are neither there nor wanted."""
        if self._memory is not None:
            self._memory.sweep(keep)

    def _found(self, wanted: SecretFile, replica: ReplicaDesired) -> Mount | MemoryFile | None:
        """The node's own file as it lies there, or what has to be written."""
        path = self._file(wanted.secret) if self._prefix + wanted.secret not in self._values else None
        if path is not None:
            return Mount(source=path, target=wanted.path, read_only=True)
        value = self._value(wanted.secret, replica)
        if value is None:
            return None
        owner = wanted.ids if wanted.owner is not None else None
        return MemoryFile(target=wanted.path, content=value, owner=owner, mode=wanted.bits)

    def _value(self, name: str, replica: ReplicaDesired) -> bytes | None:
        own = self._values.get(self._prefix + name)
        if own is not None:
            return own.encode(errors="surrogateescape")
        return next((each.raw for each in replica.secrets if each.name == name), None)

    def _missing(self, name: str, replica: ReplicaDesired) -> NotFound:
        if replica.secrets_digest is not None and not replica.secrets:
            return NotFound(
                f"secret {name} is not here: this node could not keep it, or the control plane has lost the key to it",
                hint="the agent's log says which; FLEDX_AGENT_UNSEALED_STATE=true keeps secrets without sealing them",
            )
        return NotFound(
            f"secret {name} is neither with the control plane nor on this node",
            hint=f"`fledx secrets set {name}`, or set {self._prefix}{name} in the agent's environment",
        )

    def _file(self, name: str) -> str | None:
        """
        The real path of a regular file that lies in the directory itself, whatever links lead to it.

        The name comes from the control plane: one that leads out of the directory is treated as absent.
        """
        directory = os.path.realpath(self._directory)
        path = os.path.realpath(os.path.join(directory, name))
        try:
            inside = Path(directory) in Path(path).parents
            return path if inside and stat.S_ISREG(os.stat(path).st_mode) else None
        except (OSError, ValueError):
            return None


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        raise InvalidSpec(
            "secret_env", f"secret {name} is no text that a variable can hold", hint="ask for it as a file"
        )
    return text


def _config_files(replica: ReplicaDesired) -> Iterator[MemoryFile]:
    for file in replica.files:
        yield MemoryFile(target=file.path, content=base64.b64decode(file.content), mode=CONFIG_MODE)
