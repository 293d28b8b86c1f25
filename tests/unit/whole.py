"""A control plane without a network: the real use cases on a store, the real API on them, and the CLI on that."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from fledx.client.http1 import Request
from fledx.control_plane.dispatch import Dispatch
from fledx.control_plane.fleet import Fleet
from fledx.control_plane.rebalancing import Rebalancing
from fledx.control_plane.revisions import Revisions
from fledx.control_plane.usage import UsageHistory
from fledx.control_plane.volumes import Volumes
from fledx.control_plane.watching import Watching
from tests.fakes.transport import Answer as Scripted
from tests.fakes.use_cases import FakeOverview
from tests.unit.api.caller import Answer, Caller
from tests.unit.api.site import Site
from tests.unit.cli.harness import Cli
from tests.unit.control_plane.conftest import Stage

T = TypeVar("T")
TOKEN = "secret"


class Whole:
    """Called from a test that is not async; what is async runs in a loop of another thread."""

    def __init__(self, portal: BlockingPortal, folder: Path) -> None:
        self._portal = portal
        self.stage = stage = Stage(folder / "fledx.db")
        self.site = portal.call(partial(_site, stage))
        self.ask_as = Caller(self.site.app, token=TOKEN)
        self.out = self.err = ""

    def do(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """A use case, to its end."""
        done: T = self._portal.call(partial(work, *args, **kwargs))
        return done

    def ask(self, method: str, path: str, **given: Any) -> Answer:
        """A request to the API, as an admin."""
        return self.do(self.ask_as, method, path, **given)

    def cli(self, *words: str, typed: str = "", tty: bool = False, home: Path | None = None) -> int:
        """A command to its end; `out` and `err` hold what it wrote."""
        cli = _WholeCli(self, home)
        cli.typed = typed
        code = cli.run(*words, tty=tty)
        self.out, self.err = cli.shown, cli.said
        return code


def _site(stage: Stage) -> Site:
    dispatch = Dispatch(stage.store, stage.seal)

    async def asked(*_: Any, **__: Any) -> None:
        """No agent has anything newer."""

    real: dict[str, Any] = {part: vars(stage)[part] for part in Site.__dataclass_fields__ if part in vars(stage)}
    return Site(
        **real,
        watching=Watching(stage.store, stage.bell, None, problems=list),
        usage=UsageHistory(stage.store, asked, kept_seconds=86400.0),
        revisions=Revisions(stage.store, stage.changes, stage.deployments),
        volumes=Volumes(stage.store, stage.changes, dispatch),
        fleet=Fleet(stage.store, stage.changes, stage.tokens, dispatch),
        rebalancing=Rebalancing(stage.store, stage.changes, None),
        overview=FakeOverview(),
    )


class _WholeCli(Cli):
    def __init__(self, whole: Whole, home: Path | None) -> None:
        super().__init__(home=home, FLEDX_CLI_OPERATOR_TOKEN=TOKEN, TERM="dumb")
        self._whole = whole

    def _answer(self, request: Request) -> Scripted:
        headers = {name: text for name, text in request.headers.items() if name != "authorization"}
        found = self._whole.ask(request.method, request.target, body=request.body or b"", headers=headers)
        return Scripted(status=found.status, headers=found.headers, pieces=[found.body])


@contextmanager
def running(folder: Path) -> Iterator[Whole]:
    """One on a store of its own."""
    with start_blocking_portal() as portal:
        whole = Whole(portal, folder)
        yield whole
        whole.stage.store.close()


def document(whole: Whole) -> Any:
    """The JSON that the last command printed."""
    return json.loads(whole.out)
