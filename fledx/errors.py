"""
The one exception tree.

    FledxError
    ├── InvalidSpec     the user described something that cannot be run
    ├── NotFound        no such deployment, node, config or token
    ├── Conflict        the change lost against the current state
    ├── Denied          missing, wrong or insufficient credentials
    ├── Unavailable     a peer, a node or Docker did not answer; a retry may help
    └── LimitExceeded   more than this side is willing to hold, carry or do at once

Raised deep, translated once at each edge: `control_plane/api/errors.py` to a status, `cli/main.py` to an exit code,
`client/refusals.py` from a status, `agent/runtime/engine.py` from Docker's own errors.
"""

from __future__ import annotations

from collections.abc import Sequence


class FledxError(Exception):
    """Anything a user can be told; ``code`` is stable for programs, ``hint`` says what to try."""

    code = "error"
    request_id: str | None = None  # of the answer that told of it, where it came from a control plane

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class InvalidSpec(FledxError):
    """
    The user described something that cannot be run.

    ``problems`` holds every fault found, as pairs of path (``ports[0].host_port``) and sentence.
    """

    code = "invalid"

    def __init__(self, path: str, text: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {text}" if path else text, hint=hint)
        self.problems: tuple[tuple[str, str], ...] = ((path, text),)

    @classmethod
    def of(cls, problems: Sequence[tuple[str, str]]) -> InvalidSpec:
        """All faults of one request in one error; `problems` must not be empty."""
        first = cls(*problems[0])
        first.problems = tuple(problems)
        first.text = "; ".join(f"{path}: {text}" if path else text for path, text in problems)
        first.args = (first.text,)
        return first


class NotFound(FledxError):
    """No such deployment, node, config or token."""

    code = "not_found"


class Conflict(FledxError):
    """The change lost against the current state."""

    code = "conflict"


class Denied(FledxError):
    """
    Missing, wrong or insufficient credentials.

    ``known`` tells whether the caller proved who it is: it decides between 401 (not known) and 403.
    """

    code = "denied"

    def __init__(self, text: str, *, known: bool = False, hint: str | None = None) -> None:
        super().__init__(text, hint=hint)
        self.known = known


class Unavailable(FledxError):
    """A peer, a node or Docker did not answer; a retry may help."""

    code = "unavailable"


class LimitExceeded(FledxError):
    """More than this side is willing to hold, carry or do at once."""

    code = "limit_exceeded"
