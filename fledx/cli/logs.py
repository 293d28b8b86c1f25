"""Logging of the roles: to stderr, a line an event, plain or as JSON, with the same keys in every role."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from fledx import tracing
from fledx.cli.views.text import harmless
from fledx.errors import InvalidSpec

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}
#: What a record holds of its own; everything else came by `extra` and is a fact to show.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(environ: Mapping[str, str], *, json_lines: bool, stream: TextIO | None = None) -> None:
    """
    Send all logging to stderr.

    `FLEDX_LOG`, else `RUST_LOG`, holds a level and levels of single modules: `info`, `debug,hypercorn=warn`.
    """
    general, single = levels(environ.get("FLEDX_LOG") or environ.get("RUST_LOG") or "info")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if json_lines else PlainLines())
    handler.addFilter(tracing.Naming())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if general < logging.WARNING else general)
    logging.getLogger("fledx").setLevel(general)
    for name, level in single.items():
        logging.getLogger(name).setLevel(level)


def levels(text: str) -> tuple[int, dict[str, int]]:
    """The general level, and those of single modules; InvalidSpec for a word that is none."""
    general, single = logging.INFO, {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, word = part.rpartition("=")
        level = LEVELS.get(word.strip().lower())
        if level is None and not equals:
            name, level = part, logging.DEBUG
        if level is None:
            raise InvalidSpec("FLEDX_LOG", f"{word!r} is not one of {', '.join(LEVELS)}")
        if name:
            single[_module(name.strip())] = level
        else:
            general = level
    return general, single


def _module(name: str) -> str:
    """`control_plane::api` in the words of Python's loggers."""
    dotted = name.replace("::", ".").replace("-", "_")
    return (
        f"fledx.{dotted}"
        if dotted.partition(".")[0] in ("control_plane", "agent", "tunnel", "cli", "client")
        else dotted
    )


def facts(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """What was given by `extra`."""
    for key, value in vars(record).items():
        if key not in STANDARD:
            yield key, value


def stamp(record: logging.LogRecord) -> str:
    """The moment in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"


class PlainLines(logging.Formatter):
    """`2026-11-25T19:13:12.123Z INFO  fledx.agent.run: joined node=edge-1`."""

    def format(self, record: logging.LogRecord) -> str:
        told = " ".join(f"{key}={_word(value)}" for key, value in facts(record))
        head = f"{stamp(record)} {record.levelname:<7} {record.name}: {harmless(record.getMessage())}"
        lines = [f"{head} {told}".rstrip()]
        if record.exc_info:
            lines += [f"  {harmless(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


def _word(value: Any) -> str:
    text = harmless(value)
    if text and not set(text) & set(' "='):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message", ...facts, "exception"?}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **dict(facts(record)),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
