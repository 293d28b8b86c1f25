"""The rules for words that users write: one rule each, used by every model that holds such a word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from fledx.errors import InvalidSpec

MAX_FIELD_BYTES = 255
MAX_ENV_VALUE_BYTES = 32 * 1024
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
ENV_NAME = re.compile(r"[^\s=\x00-\x1f\x7f]+")


class Faults:
    """Collects what is wrong with one model, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, path: str, text: str | None) -> None:
        """Note one fault; None means there is none."""
        if text is not None:
            self.found.append((path, text))

    def settle(self) -> None:
        """Raise InvalidSpec with all of them, if there are any."""
        if self.found:
            raise InvalidSpec.of(self.found)


def shown(text: str, *, most: int = 60) -> str:
    """A user's word made harmless for a message: quoted, escaped and cut."""
    return repr(text) if len(text) <= most else repr(text[:most]) + "..."


def control_free(text: str) -> str | None:
    """Control, format and surrogate characters break terminals, logs and files."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return f"{shown(text)} contains the control character U+{ord(character):04X}"
    return None


def line(text: str, *, most: int = MAX_FIELD_BYTES) -> str | None:
    """One non-blank line of at most `most` bytes without control characters; the fault, or None."""
    if not text.strip():
        return "is empty"
    if len(text.encode(errors="surrogatepass")) > most:
        return f"{shown(text)} is longer than {most} bytes"
    return control_free(text)


def name(text: str) -> str | None:
    """
    A deployment, node, config or secret is called by 1 to 63 letters, digits and `- _ .`, not beginning or ending with
    one of the latter.

    63 is a DNS label's limit; the alphabet is what Docker container names, DNS and file names have in common.
    """
    if NAME.fullmatch(text):
        return None
    return f"{shown(text)} is not a name: 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"


def env_name(text: str) -> str | None:
    """The name of an environment variable: no blanks, no `=`, no control characters."""
    if len(text.encode(errors="surrogatepass")) > MAX_FIELD_BYTES:
        return f"{shown(text)} is longer than {MAX_FIELD_BYTES} bytes"
    return None if ENV_NAME.fullmatch(text) else f"{shown(text)} is not a variable's name"


def env_value(text: str) -> str | None:
    """Any text that an environment can hold: no NUL, at most 32 KiB."""
    if "\x00" in text:
        return "contains a NUL character"
    if len(text.encode(errors="surrogatepass")) > MAX_ENV_VALUE_BYTES:
        return f"is longer than {MAX_ENV_VALUE_BYTES} bytes"
    return None


def absolute_path(text: str) -> str | None:
    """An absolute path without `..`, colons or control characters (a colon would split Docker's bind string)."""
    if (fault := line(text, most=512)) is not None:
        return fault
    if not text.startswith("/"):
        return f"{shown(text)} is not an absolute path"
    if ".." in text.split("/"):
        return f"{shown(text)} contains '..'"
    return f"{shown(text)} contains ':'" if ":" in text else None


def secret_name(text: str) -> str | None:
    """A reference to a secret, by the rule of its name; a node's own secrets follow it too."""
    fault = name(text)
    return None if fault is None else fault.replace("is not a name", "is not a secret's name")


def labels(values: Mapping[str, str], path: str) -> list[tuple[str, str]]:
    """The faults of a label map, by path."""
    faults: list[tuple[str, str]] = []
    for key, value in values.items():
        fault = line(key) or (f"{shown(key)} contains '=' or ','" if set(key) & {"=", ","} else None)
        faults += [(f"{path}.{key[:60]}", fault)] if fault else []
        fault = None if value == "" else line(value)
        faults += [(f"{path}.{key[:60]}", fault)] if fault else []
    return faults


def each(values: Iterable[str], path: str) -> list[tuple[str, str]]:
    """The faults of a list of lines, by index."""
    return [(f"{path}[{i}]", fault) for i, text in enumerate(values) if (fault := line(text, most=4096)) is not None]
