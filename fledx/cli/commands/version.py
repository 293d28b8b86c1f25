"""`fledx version`: which fledx this is, what is in it, and which one the control plane is."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from fledx import __version__, _boot
from fledx.cli.help import version_line
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb

#: Seconds that a control plane has to tell its version, unless --timeout says otherwise.
PATIENCE = 2.0


def flags(parser: Parser) -> None:
    parser.add_argument("--deps", action="store_true", help="list what ships inside, with its hashes")
    parser.add_argument("--client", action="store_true", help="this one alone; no control plane is asked")


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document

    if args.deps:
        from importlib.resources import files

        terminal.data((files("fledx") / "requirements.lock").read_text())
        return 0
    there = None if args.client else _asked(args, terminal)
    if is_document(args):
        terminal.data(document({**_own(), **({} if args.client else {"control_plane": there})}, args.output))
        return 0
    terminal.data(version_line())
    if there is not None:
        terminal.data(_line(there))
    return 0


def _own() -> dict[str, str | None]:
    return {"version": __version__, "build": _boot.build_id()}


def _line(there: Mapping[str, Any]) -> str:
    from fledx.cli.views.text import harmless

    build = f" (build {there['build']})" if there["build"] else ""
    said = harmless(f"control plane {there['version']}{build} at {there['url']}")
    if not there["differs"]:
        return said
    own = harmless(f"{there['url'].rstrip('/')}/artifact/fledx.pyz")
    return f"{said}\nThe two differ: `fledx bootstrap upgrade` puts this one there; that one is at {own}"


def _asked(args: Namespace, terminal: Terminal) -> dict[str, Any] | None:
    """
    What the control plane is, None where it cannot be had at once; why, where somebody named that control plane.

    Asked for in a thread, as looking up a name heeds no limit.
    """
    from threading import Thread

    from fledx.cli.target import control_plane, resolve
    from fledx.cli.views.text import harmless
    from fledx.errors import FledxError

    try:
        target = resolve(args, terminal.environ)
    except FledxError as fault:
        terminal.say(f"no control plane is asked: {harmless(fault.text)}")
        return None
    found: list[dict[str, Any] | str] = []
    url, patience = str(target.address), target.timeout if "timeout" in target.said else PATIENCE

    def ask() -> None:
        try:
            found.append(_described(url, control_plane(target, terminal, timeout=patience).health()))
        except FledxError as fault:
            found.append(fault.text)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    answer = found[0] if found else f"no answer from {url} for {patience:g} seconds"
    if isinstance(answer, dict):
        return answer
    if "control_plane_url" in target.said:
        terminal.say(f"the control plane does not tell its version: {harmless(answer)}")
    return None


def _described(url: str, health: Mapping[str, Any]) -> dict[str, Any] | str:
    version, build = health.get("version"), health.get("build")
    if not isinstance(version, str):
        return f"what answers at {url} is no control plane"
    there = {"version": version, "build": build if isinstance(build, str) else None}
    return {"url": url, **there, "differs": differ(_own(), there)}


def differ(own: Mapping[str, str | None], there: Mapping[str, str | None]) -> bool:
    """By version, or by build where both are files and not checkouts."""
    builds = {own["build"], there["build"]}
    return own["version"] != there["version"] or (None not in builds and len(builds) > 1)


VERB = Verb(run, "which fledx this is, and which the control plane is", flags)
