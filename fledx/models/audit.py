"""Who did what: a line of the audit log, and what may never stand in one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fledx.models.token import Operator

REDACTED = "<redacted>"
SECRET_KEY = re.compile(r"secret|token|passw|private.?key|credential|api.?key|authorization", re.IGNORECASE)
SECRET_TEXT = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bbearer\s+\S|://[^/\s:@]+:[^/\s@]+@", re.IGNORECASE)
#: Of these only names of secrets are said, which are no secret.
REFERENCES = ("secret_env", "secret_files", "secret_ref", "file_ref")
MAX_BYTES = 8 * 1024
RESULTS = ("success", "failure")


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """
    One line, in fledx-core's words and some more.

    ``number`` rises by one from line to line. ``operator`` is the name of a token, ``source`` an address. ``before``
    and ``after`` hold what changed, without secrets; ``payload`` the reason of a failure.
    """

    id: str
    number: int
    created_at: str
    action: str
    resource_type: str
    status: str
    operator: str
    operator_role: str | None = None
    operator_token_id: str | None = None
    source: str | None = None
    request_id: str | None = None
    resource_id: str | None = None
    resource_name: str | None = None
    payload: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Whether the chain of lines holds; `digest` is that of the newest line, `fault` the first that was found."""

    intact: bool
    lines: int
    first: int | None = None
    last: int | None = None
    digest: str | None = None
    fault: str | None = None


def entry(
    at: str,
    action: str,
    by: Operator,
    *,
    id: str | None = None,
    name: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    failed: str | None = None,
) -> AuditEntry:
    """A line whose id and number the chain will give; see `Transaction.audit`."""
    was, now = difference(before, after)
    return AuditEntry(
        id="",
        number=0,
        created_at=at,
        action=action,
        resource_type=action.partition(".")[0],
        status="success" if failed is None else "failure",
        operator=by.name,
        operator_role=by.role,
        operator_token_id=by.token_id,
        source=by.source,
        request_id=by.request_id,
        resource_id=id,
        resource_name=name,
        payload=failed,
        before=was,
        after=now,
    )


def difference(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Both sides without secrets; where there are both, only what differs."""
    if before is None or after is None:
        return kept(before), kept(after)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return (
        kept({key: before[key] for key in changed if key in before}),
        kept({key: after[key] for key in changed if key in after}),
    )


def kept(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Facts without secrets, or only their size where they are too much for a line."""
    if facts is None:
        return None
    found: dict[str, Any] = {key: _clean(key, value) for key, value in facts.items()}
    size = len(json.dumps(found))
    return found if size <= MAX_BYTES else {"bytes": size, "fields": sorted(found)[:50]}


def _clean(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool) or key in REFERENCES:
        return value
    if isinstance(value, str):
        return REDACTED if _is_secret(key) or SECRET_TEXT.search(value) else value
    if isinstance(value, Mapping):
        if "key" in value and "value" in value:  # an entry of a config
            return {**value, "value": _clean(str(value["key"]), value["value"])}
        return {inner: _clean(str(inner), each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(key, each) for each in value]
    return REDACTED if _is_secret(key) else value


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return SECRET_KEY.search(key) is not None
