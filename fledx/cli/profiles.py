"""Profiles: which control planes an operator knows, in `~/.config/fledx/profiles.toml`, readable by nobody else."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fledx.errors import InvalidSpec, NotFound

FIELDS = ("control_plane_url", "operator_token", "operator_header", "registration_token", "ca_cert_path")
SECRET_FIELDS = ("operator_token", "registration_token")


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """Everything the file holds: `default` names a profile, `known` maps names to their fields."""

    default: str | None = None
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def get(self, name: str) -> Mapping[str, str]:
        """One profile's fields; NotFound suggests a near name."""
        if name in self.known:
            return self.known[name]
        from fledx.cli.suggest import near, typed

        guess = near(name, self.known)
        known = ", ".join(sorted(self.known)) or "none"
        hint = f"did you mean {guess}?" if guess else f"profiles there are: {known}"
        raise NotFound(f"no profile called {typed(name)}", hint=hint)

    def with_profile(self, name: str, values: Mapping[str, str]) -> Profiles:
        """With a profile's fields laid over what it had; the first profile becomes the default."""
        merged = {**self.known.get(name, {}), **values}
        return Profiles(default=self.default or name, known={**self.known, name: merged})

    def with_default(self, name: str) -> Profiles:
        """With another default, which must exist."""
        self.get(name)
        return Profiles(default=name, known=self.known)

    def without(self, name: str) -> Profiles:
        """Without a profile, which must exist."""
        self.get(name)
        rest = {other: values for other, values in self.known.items() if other != name}
        return Profiles(default=None if self.default == name else self.default, known=rest)


def path(environ: Mapping[str, str]) -> str:
    """`$XDG_CONFIG_HOME/fledx/profiles.toml`, else below `$HOME/.config`."""
    base = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else None)
    if base is None:
        raise InvalidSpec(
            "HOME", "is not set, so that there is no place for profiles", hint="set HOME or XDG_CONFIG_HOME"
        )
    return f"{base}/fledx/profiles.toml"


def load(file: str) -> Profiles:
    """What the file says; nothing where there is none. Refused when others can read it, or when it is not TOML."""
    try:
        with open(file, "rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            raw = opened.read()
    except FileNotFoundError:
        return Profiles()
    except OSError as problem:
        raise InvalidSpec("", f"{file} cannot be read: {problem.strerror}") from None
    if mode & 0o077:
        raise InvalidSpec("", f"{file} holds tokens and others can read it (mode {mode:03o})", hint=f"chmod 600 {file}")
    return _parsed(raw, file)


def _parsed(raw: bytes, file: str) -> Profiles:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        data = tomllib.loads(raw.decode())
    except ValueError as problem:
        raise InvalidSpec("", f"{file} is not TOML: {problem}") from None
    tables = data.get("profiles", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidSpec("", f"{file}: profiles is not a table of tables")
    default = data.get("default_profile")
    return Profiles(
        default=default if isinstance(default, str) else None,
        known={name: _fields(table) for name, table in tables.items()},
    )


def _fields(table: Mapping[str, Any]) -> dict[str, str]:
    return {name: table[name] for name in FIELDS if isinstance(table.get(name), str)}


def written(profiles: Profiles) -> str:
    """The file's text, sorted by name."""
    lines = [f"default_profile = {_quoted(profiles.default)}", ""] if profiles.default is not None else []
    for name, values in sorted(profiles.known.items()):
        lines.append(f"[profiles.{_quoted(name)}]")
        lines += [f"{key} = {_quoted(values[key])}" for key in FIELDS if key in values]
        lines.append("")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'


def save(profiles: Profiles, file: str) -> None:
    """Replace the file in one step: 0600, in a directory of 0700 that is made if need be."""
    _replace(file, written(profiles))


def save_authority(directory: str, name: str, pem: str) -> str:
    """Keep the authority beside the profiles, whole or not at all; the path, in which only plain letters stand."""
    file = os.path.join(directory, "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + "-ca.pem")
    _replace(file, pem)
    return file


def name_for(url: str, known: Profiles) -> str:
    """The profile that has this URL already, else `default`, else a new one named by the host: none is overwritten."""
    for name, values in known.known.items():
        if values.get("control_plane_url") == url:
            return name
    if "default" not in known.known:
        return "default"
    return url.partition("://")[2].rpartition(":")[0].strip("[]")


def _replace(file: str, text: str) -> None:
    directory = os.path.dirname(file)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        os.chmod(directory, 0o700)
        fresh = f"{file}.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), 0o600)
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(fresh, file)
    except OSError as problem:
        raise InvalidSpec("", f"{file} cannot be written: {problem.strerror}") from None
