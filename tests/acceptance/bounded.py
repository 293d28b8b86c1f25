"""
What schemathesis is to leave alone (`SCHEMATHESIS_HOOKS`): streams that would go on until their reader leaves.

Logs and events are asked for as far as they are there; an archive is any bytes; all else is the generator's own.
"""

from __future__ import annotations

from typing import Any

import schemathesis

STREAMED = ("/logs", "/events")

schemathesis.serializer.alias("application/x-tar", "application/octet-stream")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Turn `follow` off, in whatever words, and ask for no server-sent events."""
    if not str(case.path).endswith(STREAMED):
        return
    if str((case.query or {}).get("follow", "false")).lower() in ("true", "1", "yes", "on", ""):
        case.query["follow"] = "false"
    for name in [each for each in case.headers or {} if each.lower() == "accept"]:
        del case.headers[name]
