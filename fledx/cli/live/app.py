"""The view of everything: nodes and deployments, side by side where there is room, one of them where there is not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widgets import DataTable, Footer, Input, Static

from fledx.cli.live.detail import DeploymentScreen, Source
from fledx.cli.live.feed import Feed, News
from fledx.cli.live.model import COLOURS, Half, Picture
from fledx.cli.live.node import NodeScreen
from fledx.cli.views.text import brief, span
from fledx.client.streams import ServerEvent

TICK_SECONDS = 0.2
AGES_SECONDS = 1.0
AGED_ROWS = 200
"""Ages are renewed for so many rows a second, so that a large fleet does not hold up the keys."""
SIDE_BY_SIDE = 130
"""Columns from which on both tables have room for their reasons."""
ATTENTION_LINES = 3
NAMES = ("nodes", "deployments")


class LiveView(App[int]):
    """
    Shows a `Picture` and keeps it up to date from one stream.

    `halves` are those of NAMES to be shown; `first` is a screen to be shown instead of all. What breaks the stream is
    said in a banner with the age of what is shown, until it flows again. An error of ours ends the view; `failure` is
    then what it was.
    """

    CSS = """
    #head { height: 1; background: $panel; padding: 0 1; }
    #attention { height: auto; max-height: 3; padding: 0 1; display: none; }
    #attention.shown { display: block; }
    #banner { height: auto; max-height: 3; background: $error; color: $text; padding: 0 1; display: none; }
    #banner.shown { display: block; }
    #filter { height: 0; border: none; padding: 0 1; }
    #filter.shown { height: 1; }
    #halves { height: 1fr; }
    .half { width: 1fr; height: 1fr; display: none; }
    .half.shown { display: block; }
    #half-nodes { width: 2fr; }
    #half-deployments { width: 3fr; }
    .title { height: 1; padding: 0 1; text-style: bold; }
    DataTable { height: 1fr; }
    """
    TITLE = "fledx"
    ENABLE_COMMAND_PALETTE = False
    # With priority where what is typed next depends on it: other keys go round by the focused part first.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", priority=True),
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("tab", "other", "Other table", priority=True),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("escape", "clear", "Clear", show=False, priority=True),
        Binding("q", "quit", "Quit"),
    ]
    OF_TABLES = ("open", "filter", "other", "sort", "reverse", "clear")

    def __init__(
        self,
        source: Source,
        picture: Picture,
        *,
        halves: tuple[str, ...] = NAMES,
        first: DeploymentScreen | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.picture = picture
        self.failure: Exception | None = None
        self._source = source
        self._first = first
        self._halves = {name: getattr(picture, name) for name in NAMES if name in halves}
        self._front = list(self._halves)[-1]
        self._now = now
        self._news = News()
        self._shown: dict[str, list[str]] = {name: [] for name in self._halves}
        self._changed: set[str] = set()
        self._aged = 0
        self._problem = ""
        self._as_of = now()
        self._feed: Feed[ServerEvent] = Feed(
            source.connect,
            lambda api: api.watch(),
            begun=lambda: self._news.soon(self._begun),
            came=lambda found: self._news.soon(lambda: self._came(found)),
            broke=lambda reason: self._news.soon(lambda: self._broke(reason)),
        )

    def compose(self) -> ComposeResult:
        """The parts from top to bottom."""
        yield Static("", id="head", markup=False)
        yield Static("", id="banner", markup=False)
        yield Static("", id="attention", markup=False)
        yield Input(placeholder="words that must occur; Enter keeps, Escape clears", id="filter")
        with Horizontal(id="halves"):
            for name in self._halves:
                with Vertical(classes="half", id=f"half-{name}"):
                    yield Static("", classes="title", id=f"title-{name}", markup=False)
                    yield DataTable(id=name, cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Fill the heads, begin to read, and end by signals as by the key."""
        self._lay_out(self.size.width)
        for name in self._halves:
            self._head(name)
        self._table(self._front).focus()
        self._draw()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread: a test
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, 128 + number)
        if self._first is not None:
            self.push_screen(self._first)
            return
        self.set_interval(TICK_SECONDS, self._tick)
        self.set_interval(AGES_SECONDS, self._age)
        self._feed.start()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the tables mean nothing while a row is open, and Enter something else while one types."""
        if len(self.screen_stack) > 1 and action in self.OF_TABLES:
            return False
        return not (action == "filter" and isinstance(self.focused, Input))

    def on_unmount(self) -> None:
        """Let go of the stream."""
        self._feed.stop()

    def _handle_exception(self, error: Exception) -> None:
        """A fault of ours ends the view with a word instead of a page of frames."""
        self.failure = self.failure or error
        self.exit(1, return_code=1)

    def _begun(self) -> None:
        self._problem = ""
        self.picture.begin()

    def _came(self, found: Iterable[ServerEvent]) -> None:
        self._as_of = self._now()
        for event in found:
            body = event.data or {}
            self.picture.take(event.kind, body)
            self._changed.add(str(body.get("node_id") or body.get("deployment_id") or ""))

    def _broke(self, reason: str) -> None:
        self._problem = reason

    def _tick(self) -> None:
        """Take what has come since the last tick, all at once."""
        if self._news.catch_up():
            self._draw()

    def _draw(self) -> None:
        self._tell()
        for name in self._halves:
            self._fill(name)
        self._changed.clear()

    def _tell(self) -> None:
        if self.picture.complete:
            counts = [f"{name}: {half.counts()}" for name, half in self._halves.items()]
            self.query_one("#head", Static).update("   ".join(counts))
        else:
            self.query_one("#head", Static).update(f"asking {self._source.peer} ...")
        attention = self.query_one("#attention", Static)
        attention.set_class(bool(self.picture.problems), "shown")
        attention.update("\n".join(_attention(self.picture.problems)))
        banner = self.query_one("#banner", Static)
        banner.set_class(bool(self._problem), "shown")
        if self._problem:
            old = span(max(0.0, self._now() - self._as_of))
            banner.update(
                f"the control plane does not answer: {self._problem}. What is shown is {old} old; trying again"
            )

    def _age(self) -> None:
        """Renew the banner, and the ages of some rows."""
        if self._problem:
            self._tell()
        for name in self._halves:
            shown = self._shown[name]
            start = self._aged % max(len(shown), 1)
            for identity in shown[start : start + AGED_ROWS]:
                self._update(name, identity)
        self._aged += AGED_ROWS

    def _table(self, name: str) -> DataTable[Text]:
        return self.query_one(f"#{name}", DataTable)

    def _half(self, name: str) -> Half:
        found: Half = self._halves[name]
        return found

    def _head(self, name: str) -> None:
        """Column heads, with an arrow where it is sorted."""
        half, table = self._half(name), self._table(name)
        table.clear(columns=True)
        self._shown[name] = []
        for i, column in enumerate(half.columns):
            arrow = ("▼" if half.order.reverse else "▲") if i == half.order.column else ""
            table.add_column(f"{column.head} {arrow}".rstrip(), key=column.head)

    def _fill(self, name: str) -> None:
        half = self._half(name)
        rows = half.rows()
        if rows == self._shown[name]:
            for identity in self._changed & set(rows):
                self._update(name, identity)
        else:
            self._refill(name, rows)
        told = f"{name}: {len(rows)} of {len(half.items)}" if half.filter or half.status else f"{name}: {len(rows)}"
        self.query_one(f"#title-{name}", Static).update(f"{told}   /{half.filter}" if half.filter else told)

    def _refill(self, name: str, rows: list[str]) -> None:
        """All rows anew, with the cursor where it was: on its item, else on its line."""
        table, before = self._table(name), self._shown[name]
        line = table.cursor_row
        under = before[line] if 0 <= line < len(before) else None
        top = table.scroll_y
        table.clear()
        now = self._now()
        for identity in rows:
            table.add_row(*self._cells(name, identity, now), key=identity)
        self._shown[name] = rows
        if rows:
            table.move_cursor(row=rows.index(under) if under in rows else min(line, len(rows) - 1), animate=False)
            table.scroll_to(y=top, animate=False)

    def _cells(self, name: str, identity: str, now: float) -> list[Text]:
        half = self._half(name)
        status = str(half.items[identity].get("status"))
        return [
            Text(text, style=COLOURS.get(status, "") if column.head == "STATUS" else "")
            for column, text in zip(half.columns, half.cells(identity, now), strict=True)
        ]

    def _update(self, name: str, identity: str) -> None:
        table, half = self._table(name), self._half(name)
        for column, cell in zip(half.columns, self._cells(name, identity, self._now()), strict=True):
            if (before := table.get_cell(identity, column.head)) != cell:
                # Narrower is not worth measuring a thousand rows for.
                table.update_cell(identity, column.head, cell, update_width=cell.cell_len > before.cell_len)

    def on_resize(self, event: Resize) -> None:
        """Both tables or one of them."""
        self._lay_out(event.size.width)

    def _lay_out(self, width: int) -> None:
        for name in self._halves:
            self.query_one(f"#half-{name}").set_class(width >= SIDE_BY_SIDE or name == self._front, "shown")

    def action_other(self) -> None:
        """To the other table."""
        names = list(self._halves)
        self._front = names[(names.index(self._front) + 1) % len(names)]
        self._lay_out(self.size.width)
        self.screen.set_focus(self._table(self._front))

    def action_filter(self) -> None:
        """Type words that must occur."""
        box = self.query_one("#filter", Input)
        box.value = self._half(self._front).filter
        box.add_class("shown")
        self.screen.set_focus(box)  # at once: the next letter may be there already

    def on_input_changed(self, event: Input.Changed) -> None:
        """Each letter counts at once."""
        self._half(self._front).filter = event.value
        self._fill(self._front)

    def _keep(self) -> None:
        """Back to the rows, with the filter as it is."""
        self.query_one("#filter", Input).remove_class("shown")
        self.screen.set_focus(self._table(self._front))

    def action_clear(self) -> None:
        """No filter."""
        self._half(self._front).filter = ""
        self.query_one("#filter", Input).value = ""
        self._keep()
        self._fill(self._front)

    def action_sort(self) -> None:
        """By the next column."""
        self._half(self._front).sort_next()
        self._sorted(self._front)

    def action_reverse(self) -> None:
        """The other way round."""
        half = self._half(self._front)
        half.sort_by(half.order.column)
        self._sorted(self._front)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """By the column that was clicked."""
        name = str(event.data_table.id)
        self._half(name).sort_by(event.column_index)
        self._sorted(name)

    def _sorted(self, name: str) -> None:
        self._head(name)
        self._fill(name)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter on a row opens it."""
        self._open(str(event.data_table.id), str(event.row_key.value))

    def action_open(self) -> None:
        """Open the row under the cursor; while one types, be done with that first."""
        if isinstance(self.focused, Input):
            self._keep()
            return
        rows, line = self._shown[self._front], self._table(self._front).cursor_row
        if 0 <= line < len(rows):
            self._open(self._front, rows[line])

    def _open(self, name: str, identity: str) -> None:
        if name == "nodes":
            names = {key: str(item.get("name")) for key, item in self.picture.deployments.items.items()}
            self.push_screen(NodeScreen(self._source, identity, names, now=self._now))
        else:
            self.push_screen(DeploymentScreen(self._source, identity, now=self._now))


def _attention(problems: Sequence[str]) -> list[str]:
    """So many lines that the tables keep their room."""
    lines = [f"! {brief(each)}" for each in problems]
    if len(lines) <= ATTENTION_LINES:
        return lines
    more = len(lines) - ATTENTION_LINES + 1
    return [*lines[: ATTENTION_LINES - 1], f"! and {more} more: `fledx status` tells all"]
