"""
To what a client may change the protocol of its connection.

A backend that does not know the word answers and goes on with HTTP. Whatever the client has sent behind its request is
the next request to that backend, past routes, limits and what is said of clients: smuggled in. So bytes must wait for
the backend's 101. Envoy does that for WebSockets, and from 1.40 on for any word (tried: 1.36 to 1.39 pass them on).

Never `h2c`: both sides would go on in HTTP/2, within which Envoy sees no request at all; a backend that speaks it is
asked for by its protocol. Nor is there CONNECT, nor a WebSocket within HTTP/2, which is made of that.
"""

from __future__ import annotations

import re

ALWAYS = ("websocket",)
HELD = ("tcp", "spdy/3.1")
"""What container engines and Kubernetes change to for a terminal; Envoy passes only words that it is given."""
HOLDS = (1, 40)
VERSION = re.compile(r"(?:^|/)(\d+)\.(\d+)\.\d+")
"""In what Envoy shows of itself: `revision/1.40.0/Clean/RELEASE/BoringSSL`."""


def passed_by(version: str) -> tuple[str, ...]:
    """The words that an Envoy passes safely which shows this as its version; one that nobody can read is an old one."""
    found = VERSION.search(version)
    holds = found is not None and (int(found[1]), int(found[2])) >= HOLDS
    return (*ALWAYS, *HELD) if holds else ALWAYS
