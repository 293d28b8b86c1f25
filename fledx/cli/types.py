"""Words of the command line turned into values; each tells what it would have liked instead."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from fledx.errors import InvalidSpec

MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]i?)?b?", re.IGNORECASE)
EXPONENTS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?\s*(Z|[+-]\d\d:?\d\d)?)?", re.IGNORECASE)


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = whole(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is less than 1")
    return number


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def up_to(most: int) -> Callable[[str], int]:
    """A whole number between 1 and `most`."""

    def read(text: str) -> int:
        if (number := count(text)) > most:
            raise ArgumentTypeError(f"{text!r} is more than {most}")
        return number

    return read


def port_number(text: str) -> int:
    """A port between 1 and 65535."""
    number = whole(text)
    if not 1 <= number <= 65535:
        raise ArgumentTypeError(f"{text!r} is not a port between 1 and 65535")
    return number


def pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`; the value may be empty and may hold `=`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def label(text: str) -> str:
    """`KEY=VALUE` as it stands, for a filter."""
    pair(text)
    return text


def millis(text: str) -> int:
    """Thousandths of a core: `500m` or a plain number of them."""
    return count(text.removesuffix("m"))


def cpu(text: str) -> int:
    """Cores as `1.5`, or thousandths as `500m`; the value is thousandths."""
    if text.endswith("m"):
        return millis(text)
    try:
        value = round(float(text) * 1000)
    except (ValueError, OverflowError):
        value = 0
    if not 1 <= value < 10**9:
        raise ArgumentTypeError(f"{text!r} is not a number of cores such as 1.5 or 500m")
    return value


def memory(text: str) -> int:
    """`512Mi`, `1.5Gi` (powers of 1024), `500M` (powers of 1000), or plain bytes; the value is bytes."""
    match = MEMORY.fullmatch(text.strip())
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not an amount of memory such as 512Mi, 1.5Gi or 500M")
    unit = (match[2] or "").lower()
    base = 1024 if unit.endswith("i") else 1000
    value = int(float(match[1]) * base ** EXPONENTS[unit.removesuffix("i")])
    if value < 1:
        raise ArgumentTypeError(f"{text!r} is less than one byte")
    return value


def seconds(text: str) -> float:
    """A duration such as `30`, `30s`, `5m` or `2h`, in seconds."""
    from fledx.settings.declare import duration

    try:
        return duration(text)
    except ValueError as problem:
        raise ArgumentTypeError(str(problem)) from None


def some_seconds(text: str) -> float:
    """A duration above 0."""
    value = seconds(text)
    if value <= 0:
        raise ArgumentTypeError(f"{text!r} is not longer than 0")
    return value


def some_seconds_or_never(text: str) -> float:
    """A duration above 0; `never` is 0."""
    return 0.0 if text.strip().lower() == "never" else some_seconds(text)


def on_return(text: str) -> str:
    """`keep-new` or `keep-original`, as the API writes it."""
    word = text.strip().lower().replace("-", "_")
    if word not in ("keep_new", "keep_original"):
        raise ArgumentTypeError(f"{text!r} is not keep-new or keep-original")
    return word


def label_change(text: str) -> tuple[str, str | None]:
    """`KEY=VALUE` sets a label, `KEY-` takes it away."""
    if "=" not in text and text.endswith("-") and len(text) > 1:
        return text[:-1], None
    return pair(text)


def moment(text: str) -> str:
    """A time (RFC 3339, or only its date) or how long ago (`10m`); left as it is, for the control plane reads both."""
    word = text.strip()
    if MOMENT.fullmatch(word):
        return f"{word}T00:00:00Z" if len(word) == 10 else word
    try:
        seconds(word)
    except ArgumentTypeError:
        raise ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-11-25T19:00:00Z nor how long ago, such as 10m"
        ) from None
    return word if word[-1:].isalpha() else f"{word}s"


def command(text: str) -> list[str]:
    """Words as a shell would split them."""
    try:
        words = shlex.split(text)
    except ValueError as problem:
        raise ArgumentTypeError(f"{text!r} cannot be split into words: {str(problem).lower()}") from None
    if not words:
        raise ArgumentTypeError("the command is empty")
    return words


def replicas_of(text: str) -> tuple[str, int]:
    """`NAME=3`."""
    name, number = pair(text)
    return name, count(number)


def port(text: str) -> dict[str, Any]:
    """`[[IP:]HOST:]CONTAINER[/PROTOCOL][,expose]` as the API takes it."""
    from fledx.models.port import PortMapping

    return _modelled(PortMapping.parse, text)


def tmpfs(text: str) -> dict[str, Any]:
    """`PATH[:size=64m,mode=1777]` as the API takes it."""
    from fledx.models.confinement import Tmpfs

    return _modelled(Tmpfs.parse, text)


def ulimit(text: str) -> dict[str, Any]:
    """`NAME=SOFT[:HARD]` as the API takes it."""
    from fledx.models.confinement import Ulimit

    return _modelled(Ulimit.parse, text)


def device(text: str) -> dict[str, Any]:
    """`HOST[:CONTAINER][:rwm]` as the API takes it."""
    from fledx.models.confinement import Device

    return _modelled(Device.parse, text)


def volume(text: str) -> dict[str, Any]:
    """`HOST:CONTAINER[:ro|rw]` or `NAME:CONTAINER[:ro|rw]` as the API takes it."""
    from fledx.models.volume import VolumeMount

    return _modelled(VolumeMount.parse, text)


def ingress(text: str) -> dict[str, Any]:
    """`HOST[/PATH][:PORT]` with `,exact`, `,h2c` and further options, as the API takes it."""
    import dataclasses

    from fledx.models.codec import encode
    from fledx.models.ingress import IngressRule

    rule, *options = text.split(",")
    try:
        fields = dict(_ingress_option(option) for option in options)
        encoded: dict[str, Any] = encode(dataclasses.replace(IngressRule.parse(rule), **fields))
    except InvalidSpec as fault:
        raise ArgumentTypeError(fault.text) from None
    return encoded


def _ingress_option(option: str) -> tuple[str, Any]:
    key, equals, value = option.partition("=")
    words = {"exact": ("path_type", "exact"), "h2c": ("protocol", "h2c"), "no-redirect": ("https_redirect", False)}
    if not equals and key in words:
        return words[key]
    if equals and key == "rewrite":
        return key, value
    if equals and key == "timeout":
        return "timeout_seconds", seconds(value)
    if equals and key == "max-body":
        return "max_body_bytes", memory(value)
    raise ArgumentTypeError(
        f"{option!r} is none of exact, h2c, no-redirect, rewrite=/PATH, timeout=TIME and max-body=SIZE"
    )


def secret_env(text: str) -> dict[str, Any]:
    """`NAME=SECRET` as the API takes it."""
    from fledx.models.secret import SecretEnv

    name, secret = pair(text)
    return _modelled(lambda _: SecretEnv(name=name, secret=secret), text)


def secret_file(text: str) -> dict[str, Any]:
    """`/PATH=SECRET[,owner=UID[:GID]][,mode=0440]` as the API takes it."""
    from fledx.models.secret import SecretFile

    path, rest = pair(text)
    secret, *more = rest.split(",")
    options = dict(pair(each) for each in more)
    if unknown := set(options) - {"owner", "mode"}:
        raise ArgumentTypeError(f"{sorted(unknown)[0]!r} is neither owner nor mode")
    return _modelled(
        lambda _: SecretFile(path=path, secret=secret, owner=options.get("owner"), mode=options.get("mode")), text
    )


def optional(read: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """The same reference, marked as one that may be missing."""
    return lambda text: {**read(text), "optional": True}


def _modelled(read: Callable[[str], Any], text: str) -> dict[str, Any]:
    from fledx.models.codec import encode

    try:
        model = read(text)
    except InvalidSpec as fault:
        raise ArgumentTypeError(fault.text) from None
    encoded: dict[str, Any] = encode(model)
    return {key: value for key, value in encoded.items() if value is not False or key == "read_only"}
