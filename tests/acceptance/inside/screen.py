"""The full-screen view, by textual on a screen that nobody sees."""

from __future__ import annotations

import asyncio

from textual.app import App, ComposeResult
from textual.widgets import DataTable, Footer, Header, Log, RichLog, Static


class Watch(App[None]):
    """The widgets that a live view is made of."""

    BINDINGS = [("q", "quit", "Quit")]  # noqa: RUF012
    CSS = "DataTable { height: 1fr; }"

    def compose(self) -> ComposeResult:
        yield from (Header(), Static("[b]nodes[/b]"), DataTable(), Log(), RichLog(), Footer())

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_columns("name", "status")
        table.add_row("edge-1", "ready")


async def main() -> None:
    app = Watch()
    async with app.run_test() as pilot:
        await pilot.press("q")
    assert app.return_code == 0


asyncio.run(main())
