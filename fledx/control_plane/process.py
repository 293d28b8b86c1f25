"""The control plane's own process: it says where it is, systemd hears that it lives, its certificate is renewed."""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import time

import anyio

from fledx import __version__, systemd_notify
from fledx.control_plane.home import Home
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.trust.pki import expiry, utc_now
from fledx.errors import FledxError
from fledx.settings.control_plane import LOOPBACK, ControlPlaneSettings

log = logging.getLogger(__name__)
CERTIFICATE_CHECK_SECONDS = 3600.0
LAG_SECONDS = 1.0


def announce(settings: ControlPlaneSettings, home: Home, api: socket.socket, tunnel_port: int, scheme: str) -> None:
    """Say where everything is, once: to the log, to systemd, and where the new operator's token lies."""
    host = settings.server_host if settings.server_host not in ("0.0.0.0", "::") else home.endpoint.host
    if ":" in host:
        host = f"[{host}]"
    url = f"{scheme}://{host}:{api.getsockname()[1]}"
    facts = {
        "version": __version__,
        "api": url,
        "tunnel_port": tunnel_port,
        "advertised": f"{home.endpoint.host}:{home.endpoint.port}",
        "data": str(home.directory),
    }
    log.info("control plane is ready", extra=facts)
    for path in home.made:
        log.info("a token was made for the first operator; the CLI on this machine finds it", extra={"file": str(path)})
    if not settings.tunnel_use_tls:
        log.warning("the tunnel is not encrypted: node tokens, secrets and logs travel in the clear")
    if scheme == "http" and settings.server_host not in LOOPBACK:
        log.warning("the API is not encrypted: operator tokens travel in the clear")
    systemd_notify.ready(f"API {url}")


def settle() -> None:
    """Take what start-up has made out of every later garbage collection, and collect more seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def renew(home: Home, tls: ssl.SSLContext, metrics: Metrics) -> None:
    """Renew the server's certificate when it is time; new connections get the new one, nothing restarts."""
    while True:
        await anyio.sleep(CERTIFICATE_CHECK_SECONDS)
        try:
            certificate, key, new = home.certificate(utc_now())
        except (OSError, FledxError) as problem:
            log.error("certificate not renewed", extra={"reason": str(problem)})
            continue
        if new:
            tls.load_cert_chain(certificate, key)
            metrics.certificate("server", expiry(certificate))
            log.info("certificate renewed")


async def watch_loop(metrics: Metrics) -> None:
    """Tell systemd that the loop turns, and the metrics how late it is."""
    limit = systemd_notify.watchdog_secs()
    interval = min(LAG_SECONDS, limit / 3) if limit else LAG_SECONDS
    while True:
        before = time.monotonic()
        await anyio.sleep(interval)
        metrics.lagged(time.monotonic() - before - interval)
        systemd_notify.alive()
