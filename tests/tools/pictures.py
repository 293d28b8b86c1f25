"""Draws the README's pictures of the live view: `python3 -m tests.tools.pictures URL TOKEN` beside a running demo."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fledx.cli.live.app import LiveView
from fledx.cli.live.detail import Source
from fledx.cli.live.model import Picture
from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.connection import SocketTransport
from fledx.client.http1 import Address

FOLDER = Path(__file__).resolve().parents[2] / ".docs"
SIZE = (132, 26)


async def draw(url: str, token: str) -> None:
    """`.docs/status.svg` and, of the first deployment, `.docs/deployment.svg` with its logs."""

    def connect() -> ControlPlane:
        transport = SocketTransport(Address.parse(url), timeout=10)
        return ControlPlane(transport, Credentials(operator_token=token), peer=url)

    view = LiveView(Source(connect=connect, peer=url), Picture())
    FOLDER.mkdir(exist_ok=True)
    async with view.run_test(size=SIZE) as pilot:
        while not view.picture.complete:
            await pilot.pause(0.2)
        await pilot.pause(0.5)
        (FOLDER / "status.svg").write_text(view.export_screenshot(title="fledx status --watch"))
        await pilot.press("slash", *"web", "enter", "enter")
        await pilot.pause(1.5)
        await pilot.press("l")
        await pilot.pause(2.0)
        (FOLDER / "deployment.svg").write_text(view.export_screenshot(title="fledx deployments watch web"))


if __name__ == "__main__":
    asyncio.run(draw(*sys.argv[1:3]))
