"""What a role's settings are on this machine, where they came from, and where its state lies, as its unit says."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from fledx.doctor.facts import UNITS
from fledx.errors import FledxError
from fledx.settings.declare import Declared, load
from fledx.settings.envfile import values_in

S = TypeVar("S", bound=Declared)

ETC = Path("/etc")
DATA = "/var/lib/fledx"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """
    What a role's unit and its drop-ins say, and what bootstrap would have written where there is none.

    Of ``env_files`` the later one wins, and each over ``environment``, as with systemd.
    """

    env_files: tuple[Path, ...]
    data: Path
    environment: Mapping[str, str]


def installation(role: str, etc: Path = ETC) -> Installation:
    """Read it; a unit can be read by everybody, while what its environment files hold is for root."""
    unit = etc / "systemd/system" / f"{UNITS[role]}.service"
    found: dict[str, list[str]] = {}
    for key, value in _assignments(unit, *sorted(unit.with_name(f"{unit.name}.d").glob("*.conf"))):
        if value:
            found.setdefault(key, []).append(value)
        else:
            found.pop(key, None)
    named = [Path(each.removeprefix("-")) for each in found.get("EnvironmentFile", ())]
    return Installation(
        env_files=tuple(named) or (etc / "fledx" / f"{UNITS[role]}.env",),
        data=Path(found.get("DataDir", [DATA])[-1]) / role,
        environment=dict(pair for line in found.get("Environment", ()) for pair in _variables(line)),
    )


@dataclass(frozen=True, kw_only=True)
class Found(Generic[S]):
    """
    A role's settings and where they came from; ``environ`` is everything they were read from.

    ``sources`` are files, ``given`` names in the environment of who asks, ``hidden`` files that he may not read.
    ``settings`` is None where they are no good, or where nothing is known of them but that they are hidden.
    """

    settings: S | None
    environ: Mapping[str, str]
    installed: Installation
    broken: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the settings are those that the service has, or those by which it is to be judged."""
        return not self.hidden or bool(self.given)


def settings_of(role: str, cls: type[S], environ: Mapping[str, str], etc: Path = ETC) -> Found[S]:
    """The settings that the role's service has, and over them those of `environ`."""
    installed = installation(role, etc)
    read, hidden = _values(installed.env_files)
    merged = dict(installed.environment)
    for values in read.values():
        merged |= values
    found = Found[S](
        settings=None,
        environ={**merged, **environ},
        installed=installed,
        sources=tuple(read),
        given=tuple(sorted(name for name in environ if name.startswith(f"{cls.PREFIX}_"))),
        hidden=hidden,
    )
    try:
        return replace(found, settings=load(cls, found.environ)) if found.known else found
    except FledxError as fault:
        return replace(found, broken=(fault.text,))


def _values(files: Iterable[Path]) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """The variables of each file that is there, and the files that cannot be read."""
    read: dict[str, dict[str, str]] = {}
    hidden = []
    for file in files:
        try:
            read[str(file)] = values_in(file.read_text(errors="replace"))
        except FileNotFoundError:
            continue
        except OSError:
            hidden.append(str(file))
    return read, tuple(hidden)


def _assignments(*files: Path) -> Iterator[tuple[str, str]]:
    for file in files:
        try:
            lines = file.read_text(errors="replace").replace("\\\n", " ").splitlines()
        except OSError:
            continue
        for line in lines:
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith(("#", ";")):
                yield key.strip(), value.strip()


def _variables(line: str) -> Iterator[tuple[str, str]]:
    """Those of one `Environment=`, which may hold several, quoted where they have blanks."""
    try:
        words = shlex.split(line)
    except ValueError:
        return
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            yield name, value
