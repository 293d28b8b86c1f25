"""What an API that speaks TLS says to this machine in the clear."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from fledx.control_plane.api.errors import refusal

OPEN = ("/health", "/metrics")  # what monitors of the host itself ask, by the mission README's own lines
UPGRADE = {"upgrade": "TLS/1.2, HTTP/1.1", "connection": "Upgrade"}


class Cleartext:
    """Around the routes: 426 for all but `OPEN` where no TLS is; a token that came this way is not even looked at."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["scheme"] == "https" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        text = f"this control plane speaks https; in the clear it answers {' and '.join(OPEN)} only"
        await refusal(426, text, scope["fledx.request_id"], UPGRADE)(scope, receive, send)
