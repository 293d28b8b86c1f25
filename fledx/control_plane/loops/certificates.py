"""Says in time which of the gateways' certificates are about to end."""

from __future__ import annotations

import logging

import anyio

from fledx.control_plane.ingress.certificates import Certificates
from fledx.control_plane.metrics import Metrics
from fledx.errors import FledxError

log = logging.getLogger(__name__)
LOOK_SECONDS = 60.0


class Endings:
    """Looks when it starts, and once a minute."""

    def __init__(self, certificates: Certificates, metrics: Metrics) -> None:
        self._certificates = certificates
        self._metrics = metrics

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except FledxError as problem:
                log.error("certificates not looked at", extra={"reason": str(problem)})
            await anyio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Tell what is about to end, once, and show when the first one does."""
        await self._certificates.look()
        self._metrics.certificate("gateway", self._certificates.first_end())
