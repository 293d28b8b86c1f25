"""The node's own secrets: variables of the agent's environment, and files of one directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from fledx.agent.runtime.base import Mount
from fledx.errors import NotFound
from fledx.models.secret import SecretEnv, SecretFile


class NodeSecrets:
    """
    Looks secrets up on this node.

    A secret ``db`` is the variable ``FLEDX_SECRET_db`` (prefix by setting), or the file ``db`` in the directory.
    """

    def __init__(self, environ: Mapping[str, str], *, prefix: str, directory: str) -> None:
        self._values = {name: value for name, value in environ.items() if name.startswith(prefix)}
        self._prefix = prefix
        self._directory = directory

    def variables(self, wanted: Sequence[SecretEnv]) -> dict[str, str]:
        """Values by the name of the variable; a missing one that is not optional raises NotFound."""
        found = {}
        for each in wanted:
            value = self._values.get(self._prefix + each.secret)
            if value is not None:
                found[each.name] = value
            elif not each.optional:
                raise NotFound(
                    f"secret {each.secret} is not on this node",
                    hint=f"set {self._prefix}{each.secret} in the agent's environment",
                )
        return found

    def files(self, wanted: Sequence[SecretFile]) -> tuple[Mount, ...]:
        """Files to mount read-only; a missing one that is not optional raises NotFound."""
        found = ((each, self._file(each.secret)) for each in wanted)
        mounts = []
        for each, path in found:
            if path is not None:
                mounts.append(Mount(source=path, target=each.path, read_only=True))
            elif not each.optional:
                raise NotFound(
                    f"secret file {each.secret} is not on this node",
                    hint=f"put it into {self._directory} as a regular file",
                )
        return tuple(mounts)

    def _file(self, name: str) -> str | None:
        """
        The real path of a regular file that lies in the directory itself, whatever links lead to it.

        The name comes from the control plane: one that leads out of the directory is treated as absent.
        """
        directory = os.path.realpath(self._directory)
        path = os.path.realpath(os.path.join(directory, name))
        try:
            inside = os.path.commonpath([directory, path]) == directory and path != directory
            return path if inside and stat.S_ISREG(os.stat(path).st_mode) else None
        except (OSError, ValueError):
            return None
