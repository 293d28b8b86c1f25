"""One deployment on the whole screen: what was asked, where it runs, what happened, and what its containers say."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Log, Static

from fledx.cli.live.feed import Feed, News
from fledx.cli.views.deployments import deployment_screen
from fledx.cli.views.text import harmless, harmless_line
from fledx.client.api import ControlPlane
from fledx.client.streams import ServerEvent

Json = Mapping[str, Any]
TICK_SECONDS = 0.2
AGES_SECONDS = 1.0
EVENTS = 20
LOG_LINES = 2000
TAIL = 100


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where views read: `connect` makes a connection of its own for each stream, `peer` names the control plane."""

    connect: Callable[[], ControlPlane]
    peer: str


class Following(Screen[None]):
    """
    A screen that draws what its feeds bring; subclasses add feeds and say how to draw.

    One that is `alone` has no other behind it.
    """

    CSS = """
    #problem { height: auto; max-height: 3; background: $error; padding: 0 1; display: none; }
    #problem.shown { display: block; }
    #about { height: 1fr; padding: 0 1; }
    Log { height: 1fr; border-top: solid $panel; display: none; }
    Log.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("q", "leave", "Back", show=False),
    ]

    def __init__(self, source: Source, *, alone: bool = False, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._alone = alone
        self._source = source
        self._now = now
        self._news = News()
        self._feeds: list[Feed[Any]] = []
        self._events: deque[Json] = deque(maxlen=EVENTS)
        self._last_event: str | None = None

    def compose(self) -> ComposeResult:
        """The parts from top to bottom."""
        yield Static("", id="problem", markup=False)
        with VerticalScroll(id="about"):
            yield Static("asking ...", id="text", markup=False)
        yield Log(max_lines=LOG_LINES, id="log")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self.set_interval(TICK_SECONDS, self._tick)
        self.set_interval(AGES_SECONDS, self._draw)
        for feed in self._feeds:
            feed.start()

    def on_unmount(self) -> None:
        """Let go of the streams."""
        for feed in self._feeds:
            feed.stop()

    def soon(self, work: Callable[[], None]) -> None:
        """Do it on the screen's own thread; for feeds."""
        self._news.soon(work)

    def broke(self, reason: str) -> None:
        """Say why nothing comes; for feeds."""
        self.soon(lambda: self._say(f"the control plane does not answer: {reason}; trying again"))

    def begun(self) -> None:
        """All is well; for feeds."""
        self.soon(lambda: self._say(""))

    def follow_events(self, query: Json) -> None:
        """Read what happens, the last of it first."""

        def came(found: Iterable[ServerEvent]) -> None:
            self.soon(lambda: self._happened(found))

        def follow(api: ControlPlane) -> Any:
            first = {} if self._last_event else {"limit": EVENTS}
            return api.follow_events({**query, **first}, after=self._last_event)

        self._feeds.append(Feed(self._source.connect, follow, came=came, broke=lambda reason: None))

    def _happened(self, found: Iterable[ServerEvent]) -> None:
        for event in found:
            self._last_event = event.id or self._last_event
            self._events.append(event.data)

    def _say(self, problem: str) -> None:
        told = self.query_one("#problem", Static)
        told.set_class(bool(problem), "shown")
        told.update(problem)

    def _tick(self) -> None:
        if self._news.catch_up():
            self._draw()

    def _draw(self) -> None:
        self.query_one("#text", Static).update(self.drawn(max(self.size.width - 4, 20)))

    def drawn(self, columns: int) -> str:
        """The text to show, in so many columns."""
        raise NotImplementedError

    def action_leave(self) -> None:
        """Back to where it was opened; out, where it was the first."""
        if self._alone:
            self.app.exit(0)
        else:
            self.app.pop_screen()
            self.app.call_later(self.app.refresh_css, animate=False)  # the size may have changed meanwhile


class DeploymentScreen(Following):
    """A deployment, its replicas, its events and, when asked for, its logs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("l", "logs", "Logs")]

    def __init__(
        self,
        source: Source,
        deployment_id: str,
        *,
        alone: bool = False,
        logs: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(source, alone=alone, now=now)
        self._subject = deployment_id
        self._item: Json | None = None
        self._gone = False
        self._log_feed: Feed[dict[str, Any]] | None = None
        self._logs_at_once = logs
        self._feeds.append(
            Feed(
                source.connect,
                lambda api: api.watch_deployment(deployment_id),
                begun=self.begun,
                came=lambda found: self.soon(lambda: self._came(found)),
                broke=self.broke,
            )
        )
        self.follow_events({"deployment": deployment_id})

    def on_mount(self) -> None:
        """Show the logs at once where they were asked for; the library has called the base's as well."""
        if self._logs_at_once:
            self.action_logs()

    def _came(self, found: Iterable[ServerEvent]) -> None:
        for event in found:
            if event.kind == "gone":
                self._gone = True
            else:
                self._item = event.data

    def drawn(self, columns: int) -> str:
        """The screen that `deployments show` prints."""
        if self._item is None:
            return "it was deleted" if self._gone else "asking ..."
        shown = deployment_screen(self._item, self._now(), events=list(self._events), columns=columns)
        return f"{shown}\n\nIt was deleted." if self._gone else shown

    def action_logs(self) -> None:
        """Show what its containers write, or no longer."""
        log = self.query_one(Log)
        log.toggle_class("shown")
        if self._log_feed is not None:
            self._log_feed.stop()
            self._log_feed = None
            log.clear()
            return
        query = {"follow": True, "tail": TAIL}
        self._log_feed = Feed(
            self._source.connect,
            lambda api: api.logs([self._subject], query),
            came=lambda found: self.soon(lambda: self._write(found)),
            broke=lambda reason: self.soon(lambda: self._note(reason)),
        )
        self._log_feed.start()

    def on_unmount(self) -> None:
        """Let go of the logs too."""
        if self._log_feed is not None:
            self._log_feed.stop()

    def _write(self, found: Iterable[Json]) -> None:
        self.query_one(Log).write_lines(map(log_line, found))

    def _note(self, reason: str) -> None:
        self.query_one(Log).write_line(f"-- {reason} --")


def log_line(line: Json) -> str:
    """`web/0 | hello`, harmless; a notice of the control plane between dashes."""
    if "line" not in line:
        return f"-- {harmless(line.get('notice', ''))} --"
    return f"{harmless(line.get('deployment', '-'))}/{line.get('replica_number')} | {harmless_line(str(line['line']))}"
