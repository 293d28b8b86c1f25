"""Learning a control plane's CA by its fingerprint, so that nothing is trusted on first use."""

from __future__ import annotations

from collections.abc import Sequence

from fledx.errors import Denied
from fledx.tunnel.connect import connect, peer_name, within
from fledx.tunnel.dial import CONNECT_SECS, Caller
from fledx.tunnel.tls import Tls, digest, matching, unverified_context


async def fetch_authority(host: str, port: int, pins: Sequence[str], *, connect_timeout: float = CONNECT_SECS) -> str:
    """
    The CA certificates of that tunnel listener whose fingerprint is among `pins`, as PEM for `tls.client_context`.

    `pins` are SHA-256 of the DER, in base64url or hex (`tls.fingerprint`). The listener is asked over TLS that proves
    nothing, and is sent nothing but the question. Raises Denied when no certificate matches, Unavailable when there is
    no such listener, InvalidSpec for a pin that is none.
    """
    for pin in pins:
        digest(pin)
    peer = peer_name(host, port)
    with within(connect_timeout, peer):
        sock = await connect(host, port, connect_timeout)
        caller = Caller(sock, Tls(unverified_context(), server=False), peer, attend=lambda link: None)
        caller.session.ask_authority()
        await caller.call()
    found = matching(caller.authority or "", pins)
    if not found:
        error = Denied(
            f"none of the CA certificates that {peer} shows has the fingerprint {', '.join(pins) or '(none given)'}",
            hint="take a new join string from the control plane; if it names this host, somebody stands in between",
        )
        error.code = "certificate"
        raise error
    return found
