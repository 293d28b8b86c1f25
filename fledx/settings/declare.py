"""Process settings: one declaration feeds the parser, the environment, the env file and the docs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from fledx.errors import InvalidSpec


class Declared(Protocol):
    """A frozen dataclass whose fields are settings and that names its environment prefix (`FLEDX_CP`)."""

    PREFIX: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


S = TypeVar("S", bound=Declared)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting as the parser, the env file and the README see it; `default` None means: decided at start."""

    field: str
    env: str
    flag: str
    help: str
    default: Any
    parse: Callable[[str], Any]
    secret: bool


def setting(default: Any, help: str, *, parse: Callable[[str], Any] = str, secret: bool = False) -> Any:
    """Declare one setting of a role; its environment name and its flag follow from its field."""
    metadata = {"help": help, "parse": parse, "secret": secret}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def declared(cls: type[Declared]) -> Iterator[Setting]:
    """Every setting of a role, in the order of its declaration."""
    for field in dataclasses.fields(cls):
        yield Setting(
            field=field.name,
            env=f"{cls.PREFIX}_{field.name.upper()}",
            flag="--" + field.name.replace("_", "-"),
            help=field.metadata["help"],
            default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
            parse=field.metadata["parse"],
            secret=field.metadata["secret"],
        )


def load(cls: type[S], environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> S:
    """
    Read a role's settings: a flag wins over the environment, which wins over the default.

    `flags` maps field names to the text given on the command line. Raises InvalidSpec that names every wrong one by the
    name under which it was given.
    """
    given = {name: text for name, text in (flags or {}).items() if text is not None}
    values: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for each in declared(cls):
        name, text = (each.flag, given[each.field]) if each.field in given else (each.env, environ.get(each.env))
        if text is None:
            continue
        try:
            values[each.field] = each.parse(text)
        except ValueError as problem:
            problems.append((name, str(problem)))
    if problems:
        raise InvalidSpec.of(problems)
    return cls(**values)


def env_file(values: Declared) -> str:
    """The lines of a systemd environment file that reproduce the settings which differ from their defaults."""
    lines = []
    for each in declared(type(values)):
        value = getattr(values, each.field)
        if value != each.default and value is not None:
            lines.append(f"{each.env}={quoted(text_of(value))}\n")
    return "".join(lines)


def text_of(value: Any) -> str:
    """A setting's value in the words that its `parse` reads back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ("-" if value and isinstance(value[0], int) else ",").join(str(item) for item in value)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def quoted(text: str) -> str:
    """Double quotes as systemd's EnvironmentFile reads them."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def boolean(text: str) -> bool:
    """`true yes on 1` and `false no off 0`, in any case."""
    word = text.strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of some words, in any case."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in allowed:
            raise ValueError(f"{text!r} is not {' or '.join(allowed)}")
        return word

    return parse


def whole(*, least: int = 0, most: int | None = None) -> Callable[[str], int]:
    """A whole number between two bounds, both included."""

    def parse(text: str) -> int:
        try:
            number = int(text.strip())
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
        if number < least or (most is not None and number > most):
            span = f"at least {least}" if most is None else f"between {least} and {most}"
            raise ValueError(f"{number} is not {span}")
        return number

    return parse


def seconds(*, least: float = 0.0) -> Callable[[str], float]:
    """A duration: a plain number is seconds; `500ms`, `30s`, `5m`, `2h` and `7d` are read too."""

    def parse(text: str) -> float:
        value = duration(text)
        if value < least:
            raise ValueError(f"{text!r} is less than {least:g} seconds")
        return value

    return parse


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds in `1.5`, `30s`, `5m`, `2h`, `7d` or `500ms`; ValueError otherwise."""
    word = text.strip().lower()
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        value = float(digits) * UNITS[word[len(digits) :] or "s"]
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 2h or 7d") from None
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 2h or 7d")
    return value


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list, trimmed, without empty items."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def some_of(*known: str) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma-separated words of a list."""

    def parse(text: str) -> tuple[str, ...]:
        for word in words(text):
            if word not in known:
                raise ValueError(f"{word!r} is not one of {', '.join(known)}")
        return words(text)

    return parse


def pairs(text: str) -> dict[str, str]:
    """`key=value` items separated by commas."""
    found: dict[str, str] = {}
    for item in words(text):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{item!r} is not KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def port_range(text: str) -> tuple[int, int]:
    """The first and the last port of `30000-30099`."""
    first, dash, last = text.strip().partition("-")
    if not dash or not (first.isdigit() and last.isdigit()) or not 1 <= int(first) <= int(last) <= 65535:
        raise ValueError(f"{text!r} is not FIRST-LAST, such as 30000-30099")
    return int(first), int(last)
