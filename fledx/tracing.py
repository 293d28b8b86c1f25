"""
Whose wish a piece of work follows: the id of the request that asked for it goes along with the work.

It is a task's own (a context variable), travels through the tunnel in what opens a stream, and is written into every
line that is logged meanwhile, so that one word finds what was asked, decided and done about it on every machine.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

FIELD = "request_id"
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_request: contextvars.ContextVar[str | None] = contextvars.ContextVar("fledx.request_id", default=None)


def current() -> str | None:
    """The id of the request that is being worked on here, if it is one's."""
    return _request.get()


@contextlib.contextmanager
def working_for(request_id: str | None) -> Iterator[None]:
    """What is done inside is done for this request; nested work may be for another."""
    token = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(token)


def noted(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What opens a stream, with the request it is opened for."""
    found = current()
    return dict(meta) if found is None else {**meta, FIELD: found}


def told_by(meta: Mapping[str, Any]) -> str | None:
    """The request that a peer names in what opens a stream; anything that cannot be an id is none."""
    found = meta.get(FIELD)
    return found if isinstance(found, str) and REQUEST_ID.fullmatch(found) else None


class Naming(logging.Filter):
    """Adds the id to each record that has none of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = current()
        if found is not None and not hasattr(record, FIELD):
            setattr(record, FIELD, found)
        return True
