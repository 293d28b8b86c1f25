"""How a role hears that it is to end."""

from __future__ import annotations

import logging
import signal

import anyio

from fledx import systemd_notify

logger = logging.getLogger(__name__)


async def stop_on_signal(stop: anyio.Event) -> None:
    """Set `stop` at SIGTERM or SIGINT, and tell systemd that the role is on its way down."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("stopping", extra={"signal": signal.Signals(number).name})
            systemd_notify.stopping()
            stop.set()
