"""What containers wrote, over HTTP."""

from __future__ import annotations

import anyio

from fledx.control_plane.api.deployments import ref_of
from fledx.control_plane.api.endpoint import Call
from fledx.control_plane.api.params import flag, moment, number, word
from fledx.control_plane.api.replies import packed
from fledx.control_plane.api.streams import LINES, Stream, line
from fledx.control_plane.logs import LogRequest, Logs
from fledx.models.event import LogLine

MAX_TAIL = 1_000_000
LOGS_OF_ONE = (
    number("replica", "only this replica", default=None, least=0),
    flag("follow", "go on with what is written from now on"),
    moment("since", "only lines from this time on, RFC 3339, or so long ago: 90s, 10m, 2h"),
    moment("until", "only lines before this time"),
    number("tail", "only so many of the newest lines of each replica", default=None, least=0, most=MAX_TAIL),
)
LOGS_OF_ALL = (
    word("deployment", "only this one (name, id or its beginning); may be repeated", many=True),
    *LOGS_OF_ONE,
)


class LogEndpoints:
    """The real output of the containers, carried through the tunnel while it is read."""

    def __init__(self, logs: Logs, *, stopping: anyio.Event) -> None:
        self._logs = logs
        self._stopping = stopping

    def of_one(self, call: Call) -> Stream[LogLine | str]:
        """Read the logs of a deployment, one JSON object a line; `{"notice": ...}` where a node is away."""
        return self._read(call, (ref_of(call),))

    def of_all(self, call: Call) -> Stream[LogLine | str]:
        """Read the logs of some deployments, or of all."""
        return self._read(call, call.query["deployment"])

    def _read(self, call: Call, deployments: tuple[str, ...]) -> Stream[LogLine | str]:
        query = call.query
        wanted = LogRequest(
            deployments=deployments,
            replica=query["replica"],
            follow=query["follow"],
            since=query["since"],
            until=query["until"],
            tail=query["tail"],
        )
        items = self._logs.read(wanted)
        return Stream(items, _written, LINES, stopping=self._stopping, request_id=call.request_id)


def _written(item: LogLine | str) -> bytes:
    return line({"notice": item} if isinstance(item, str) else packed(item))
