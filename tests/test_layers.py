"""The floor plan: which room may look into which, which modules touch the world, and where each library lives."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "fledx"

MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli"},
    "_boot": set(),
    "agent": {"sealing", "stopping", "systemd_notify", "tracing", "tunnel", "client", "models", "settings", "errors"},
    "bootstrap": {"_boot", "client", "models", "settings", "errors"},
    "cli": {
        "_boot",
        "control_plane",
        "agent",
        "bootstrap",
        "demo",
        "client",
        "compose",
        "doctor",
        "tunnel",
        "models",
        "settings",
    }
    | {"child", "errors", "tracing"},
    "child": set(),
    "client": {"tunnel", "models", "errors"},
    "compose": {"models", "errors"},
    "control_plane": {"_boot", "sealing", "stopping", "systemd_notify", "tracing", "tunnel", "models", "settings"}
    | {"errors"},
    "demo": {"_boot", "child", "control_plane", "agent", "client", "sample", "models", "settings", "errors"},
    "doctor": {"control_plane", "models", "settings", "errors"},
    "errors": set(),
    "models": {"errors"},
    "sample": {"errors"},
    "sealing": {"errors"},
    "settings": {"errors"},
    "stopping": {"systemd_notify"},
    "systemd_notify": set(),
    "tracing": set(),
    "tunnel": {"models", "errors"},
}
"""Every room, and the rooms below it."""

ROLES = ("fledx.control_plane", "fledx.agent", "fledx.bootstrap", "fledx.demo", "fledx.doctor")
DOORS = ("fledx.control_plane.run", "fledx.agent.run", "fledx.bootstrap.run", "fledx.demo", "fledx.doctor.run")
"""The rooms that do something, and the only modules of theirs that `cli` and `demo` may import."""

DECIDING = (
    *("fledx.agent.backoff", "fledx.agent.reconcile.actions", "fledx.agent.reconcile.history"),
    *("fledx.agent.reconcile.firing", "fledx.agent.reconcile.jobs"),
    *("fledx.agent.runtime.containers", "fledx.agent.spec", "fledx.models"),
)
INSIDE_ONLY: dict[str, tuple[str, ...]] = {
    "agent/reconcile/actions.py": DECIDING,
    "agent/reconcile/plan.py": DECIDING,
    "agent/runtime/": ("fledx.agent.runtime", "fledx.models", "fledx.errors"),
    "control_plane/replicas/": (
        *("fledx.control_plane.replicas", "fledx.control_plane.scheduler", "fledx.control_plane.store"),
        *("fledx.models", "fledx.errors"),
    ),
    "control_plane/rollout/": ("fledx.control_plane.rollout", "fledx.models", "fledx.errors"),
    "control_plane/scheduler/": ("fledx.control_plane.scheduler", "fledx.models", "fledx.errors"),
}
"""All of fledx that these may import."""

ENTERED_BY: dict[str, tuple[str, ...]] = {
    "fledx.agent.reconcile.loop": ("agent/run.py", "agent/observed.py"),
    "fledx.agent.run": (),
    "fledx.agent.runtime.docker": ("agent/run.py", "agent/runtime/"),
    "fledx.control_plane.api": ("control_plane/run.py", "control_plane/api/"),
    "fledx.control_plane.dispatch": ("control_plane/*.py", "control_plane/loops/", "control_plane/ingress/"),
    "fledx.control_plane.loops": ("control_plane/*.py", "control_plane/loops/"),
    "fledx.control_plane.run": (),
    "fledx.control_plane.scheduler": tuple(
        f"control_plane/{place}" for place in ("*.py", "loops/", "replicas/", "store/", "scheduler/")
    ),
    "fledx.control_plane.store": tuple(
        f"control_plane/{place}" for place in ("*.py", "ingress/", "loops/", "replicas/", "store/", "trust/")
    ),
}
"""Who in the room may import these: the API stands above the use cases, these above the store, the wiring above all."""

PURE = (
    "models/",
    "compose/",
    *(f"tunnel/{inner}.py" for inner in ("frames", "greeting", "session", "multiplexer", "credit", "events")),
    *(f"tunnel/{inner}.py" for inner in ("flow", "flows", "order", "reader", "held", "pace", "round_trip", "small")),
    "control_plane/scheduler/",
    "control_plane/replicas/status.py",
    "control_plane/replicas/job_status.py",
    "control_plane/reachability.py",
    "control_plane/rollout/",
    "control_plane/ingress/draining.py",
    "control_plane/ingress/part.py",
    "agent/reconcile/actions.py",
    "agent/reconcile/plan.py",
    "agent/reconcile/jobs.py",
    "agent/reconcile/firing.py",
    "agent/reconcile/history.py",
    "agent/instances.py",
    "agent/job_instances.py",
    "agent/images/cleaning.py",
    "agent/ingress/targets.py",
    "agent/runtime/base.py",
    "agent/runtime/containers.py",
    "agent/runtime/pulling.py",
    "agent/runtime/shapes.py",
    "agent/spec.py",
    "agent/backoff.py",
    "agent/health/schedule.py",
    "agent/ingress/envoy_config/",
    "bootstrap/plan.py",
    "bootstrap/preflight.py",
    "cli/live/model.py",
    "cli/monitoring/",
    "doctor/judge.py",
)
WORLD = {"anyio", "asyncio", "docker", "hypercorn", "logging", "os", "paramiko", "pathlib", "random", "secrets"} | {
    *("select", "selectors", "shutil", "signal", "socket", "sqlite3", "starlette", "subprocess", "tempfile"),
    *("threading", "time", "uuid"),
}

LIVES_IN: dict[str, tuple[str, ...]] = {
    "anyio": (
        "control_plane/",
        "agent/",
        "stopping.py",
        *(f"tunnel/{edge}.py" for edge in ("link", "dial", "connect", "listen")),
        "demo/",
        "client/operator_session.py",
        *(f"cli/{entering}.py" for entering in ("execution", "forwarding")),
    ),
    "argcomplete": ("cli/completion.py",),
    "attr": (),
    "attrs": ("models/codec.py", "control_plane/api/openapi.py"),
    "cattrs": ("models/codec.py", "control_plane/api/openapi.py"),
    "croniter": ("models/*.py", "control_plane/*.py"),
    "cryptography": ("control_plane/trust/pki.py", "control_plane/ingress/pem.py", "sealing.py"),
    "docker": ("agent/runtime/engine.py",),
    "h11": ("agent/exchange.py",),
    "hypercorn": ("control_plane/web.py",),
    "msgpack": ("tunnel/frames.py",),
    "paramiko": ("bootstrap/ssh.py",),
    "prometheus_client": ("control_plane/metrics.py", "agent/metrics.py"),
    "requests": ("agent/runtime/engine.py",),
    "rich": ("cli/views/", "cli/live/app.py"),
    "sqlite3": ("control_plane/",),  # and see sql_is_spoken_in_the_store
    "starlette": ("control_plane/api/",),
    "textual": ("cli/live/",),
    "tomli": ("cli/profiles.py",),
    "tomllib": ("cli/profiles.py",),
    "yaml": ("cli/views/", "compose/"),
}
"""Each library is adapted here and nowhere else; one that is not listed may not be imported at all."""

LIGHT = ("cli/main.py", "cli/completion.py", "cli/commands/")
LIGHT_OURS = ("fledx.__version__", "fledx._boot", "fledx.cli", "fledx.settings", "fledx.errors")
LIGHT_LIBRARIES = {"argcomplete", *sys.stdlib_module_names}
HEAVY_STDLIB = ("asyncio", "email", "http", "importlib.metadata", "ssl", "urllib.request", "unittest")
"""Every TAB loads these and what they import at their top: the lighter standard library, settings and errors only."""

BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "service"}
LINES = 500

Rule = Callable[[str, ast.Module], Iterator[str]]
"""From a module's path in the package (`agent/run.py`) and its tree to sentences about what is wrong."""


def imported(tree: ast.AST) -> Iterator[str]:
    """Every absolute name that is imported anywhere in the tree; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def at_the_top(tree: ast.Module) -> Iterator[str]:
    """What is imported when the module is."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from imported(node)


def matches(where: str, patterns: Iterable[str]) -> bool:
    """Whether the path is meant: `room/` is all of a room, and `*` does not go into folders."""
    return any(
        where.startswith(pattern) if pattern.endswith("/") else PurePosixPath("/", where).match(f"/{pattern}")
        for pattern in patterns
    )


def below(name: str, modules: Iterable[str]) -> bool:
    """Whether the name is one of the modules or lies in one."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def room_of(where: str) -> str:
    return where.removesuffix(".py").partition("/")[0]


def rooms_look_down(where: str, tree: ast.Module) -> Iterator[str]:
    room = room_of(where)
    if room != "__init__" and room not in MAY_IMPORT:
        yield "stands in no room of MAY_IMPORT: draw the new room there first"
    for name in imported(tree):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package == "fledx" and target not in {"", "__version__", room, *MAY_IMPORT.get(room, ())}:
            yield f"imports {name}, and {room} may not look into {target}"


def roles_are_entered_by_their_door(where: str, tree: ast.Module) -> Iterator[str]:
    for name in imported(tree):
        entered = below(name, ROLES) and room_of(where) != name.split(".")[1]
        if entered and not below(name, DOORS):
            yield f"imports {name}, and not the door of that room, its run"


def inner_rooms_look_down(where: str, tree: ast.Module) -> Iterator[str]:
    ours = [name for name in imported(tree) if below(name, ["fledx"])]
    for pattern, allowed in INSIDE_ONLY.items():
        if matches(where, [pattern]):
            yield from (f"imports {name}, and may only {allowed}" for name in ours if not below(name, allowed))
    for module, who in ENTERED_BY.items():
        if module.split(".")[1] == room_of(where) and not matches(where, who):
            yield from (
                f"imports {name}, which is only for {who or 'others'}" for name in ours if below(name, [module])
            )


def decisions_do_not_touch_the_world(where: str, tree: ast.Module) -> Iterator[str]:
    if matches(where, PURE):
        yield from (f"decides, and imports {name}" for name in imported(tree) if name.partition(".")[0] in WORLD)


def each_library_is_adapted_in_one_place(where: str, tree: ast.Module) -> Iterator[str]:
    for name in imported(tree):
        library = name.partition(".")[0]
        known = library in sys.stdlib_module_names or library == "fledx"
        if library in LIVES_IN and not matches(where, LIVES_IN[library]):
            yield f"imports {name}, which is only for {LIVES_IN[library]}"
        elif library not in LIVES_IN and not known:
            yield f"imports {name}, which is no library of ours"


def sql_is_spoken_in_the_store(where: str, tree: ast.Module) -> Iterator[str]:
    """A use case may hand the connection of its transaction on, and hold a row; it does no more with either."""
    if where.startswith("control_plane/store/"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if (
                isinstance(node.value, ast.Name)
                and node.value.id == "sqlite3"
                and node.attr not in {"Connection", "Row"}
            ):
                yield f"line {node.lineno} uses sqlite3.{node.attr}"
            elif node.attr in {"execute", "executemany", "executescript"} and where.startswith("control_plane/"):
                yield f"line {node.lineno} runs SQL"
    yield from (f"imports {name}: write sqlite3.Connection" for name in imported(tree) if name.startswith("sqlite3."))


def the_command_line_is_light(where: str, tree: ast.Module) -> Iterator[str]:
    if matches(where, LIGHT):
        yield from heavy(tree, seen=set())


def heavy(tree: ast.Module, seen: set[Path]) -> Iterator[str]:
    """What importing the module loads that is slow to load, through all of `cli` that it imports at the top."""
    for name in at_the_top(tree):
        ours = below(name, ["fledx"])
        if (ours and not below(name, LIGHT_OURS)) or (not ours and name.partition(".")[0] not in LIGHT_LIBRARIES):
            yield f"imports {name} at the top, which every TAB would load"
        elif below(name, HEAVY_STDLIB):
            yield f"imports {name} at the top, which is slow to load"
        for module in (name, name.rpartition(".")[0]):
            path = PROJECT / f"{module.replace('.', '/')}.py"
            if below(module, ["fledx.cli"]) and path.exists() and path not in seen:
                seen.add(path)
                yield from (f"imports {module}, which {fault}" for fault in heavy(ast.parse(path.read_text()), seen))


def imports_are_plain(where: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"imports .{node.module or ''}: write the full name"
            if any(alias.name == "*" for alias in node.names):
                yield f"imports all of {node.module}"
            if any(alias.name == "TYPE_CHECKING" for alias in node.names):
                yield "uses TYPE_CHECKING: a cycle means that a noun lives in the wrong file"
    if tree.body[1:] and where != "__init__.py" and "__future__.annotations" not in imported(tree):
        yield "lacks `from __future__ import annotations`"


def packages_hold_a_docstring_only(where: str, tree: ast.Module) -> Iterator[str]:
    if not ast.get_docstring(tree):
        yield "has no docstring"
    if where.endswith("/__init__.py") and tree.body[1:]:
        yield "holds more than a docstring"


def names_say_what_it_is(where: str, tree: ast.Module) -> Iterator[str]:
    vague = set(where.removesuffix(".py").split("/")) & BANNED
    if vague:
        yield f"is called {', '.join(vague)}"


RULES: list[Rule] = [
    rooms_look_down,
    roles_are_entered_by_their_door,
    inner_rooms_look_down,
    decisions_do_not_touch_the_world,
    each_library_is_adapted_in_one_place,
    sql_is_spoken_in_the_store,
    the_command_line_is_light,
    imports_are_plain,
    packages_hold_a_docstring_only,
    names_say_what_it_is,
]


@cache
def house() -> dict[str, ast.Module]:
    """Every file of the package by its path there."""
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_as_drawn(rule: Rule) -> None:
    assert "errors.py" in house()
    faults = [f"fledx/{where} {fault}" for where, tree in house().items() for fault in rule(where, tree)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "where", "source"),
    [
        (rooms_look_down, "models/port.py", "from fledx.settings.agent import AgentSettings"),
        (rooms_look_down, "attic/box.py", "import os"),
        (rooms_look_down, "agent/run.py", "import fledx.control_plane.store.database"),
        (rooms_look_down, "errors.py", "def late(): import fledx.models"),
        (roles_are_entered_by_their_door, "cli/commands/cp.py", "from fledx.control_plane.trust import tokens"),
        (inner_rooms_look_down, "control_plane/api/nodes.py", "from fledx.control_plane.store.nodes import find"),
        (inner_rooms_look_down, "control_plane/deployments.py", "from fledx.control_plane.api import errors"),
        (inner_rooms_look_down, "control_plane/store/nodes.py", "from fledx.control_plane.dispatch import Dispatch"),
        (inner_rooms_look_down, "control_plane/scheduler/rank.py", "from fledx.settings import declare"),
        (inner_rooms_look_down, "agent/reconcile/plan.py", "from fledx.agent.clock import Clock"),
        (inner_rooms_look_down, "agent/reconcile/loop.py", "from fledx.agent.runtime import docker"),
        (decisions_do_not_touch_the_world, "control_plane/scheduler/rank.py", "import random"),
        (decisions_do_not_touch_the_world, "models/node.py", "from os import path"),
        (each_library_is_adapted_in_one_place, "agent/stats.py", "import docker"),
        (each_library_is_adapted_in_one_place, "agent/stats.py", "import numpy"),
        (each_library_is_adapted_in_one_place, "agent/stats.py", "import sqlite3"),
        (sql_is_spoken_in_the_store, "control_plane/nodes.py", "from sqlite3 import connect"),
        (sql_is_spoken_in_the_store, "control_plane/nodes.py", "sqlite3.connect('')"),
        (sql_is_spoken_in_the_store, "control_plane/nodes.py", "sql.execute('')"),
        (the_command_line_is_light, "cli/commands/nodes.py", "from fledx.models.node import Node"),
        (the_command_line_is_light, "cli/main.py", "import asyncio"),
        (the_command_line_is_light, "cli/main.py", "import rich"),
        (imports_are_plain, "agent/run.py", "from __future__ import annotations\nfrom . import stats"),
        (imports_are_plain, "agent/run.py", "from __future__ import annotations\nfrom typing import TYPE_CHECKING"),
        (imports_are_plain, "agent/run.py", "from __future__ import annotations\nfrom os import *"),
        (imports_are_plain, "agent/run.py", "import os\nimport sys"),
        (packages_hold_a_docstring_only, "agent/__init__.py", '"""Room."""\nimport os'),
        (packages_hold_a_docstring_only, "agent/run.py", "import os"),
        (names_say_what_it_is, "agent/utils.py", ""),
        (names_say_what_it_is, "common/words.py", ""),
    ],
)
def test_a_breach_is_noticed(rule: Rule, where: str, source: str) -> None:
    assert list(rule(where, ast.parse(source)))


def test_a_folder_pattern_reaches_deep_and_a_star_does_not() -> None:
    assert matches("control_plane/api/nodes.py", ["control_plane/"])
    assert matches("control_plane/nodes.py", ["control_plane/*.py"])
    assert not matches("control_plane/api/nodes.py", ["control_plane/*.py"])


def test_no_files_import_each_other_in_a_circle() -> None:
    trees = {f"fledx.{where.removesuffix('.py').replace('/', '.')}": tree for where, tree in house().items()}
    looks_at = {name: set(with_modules(tree)) - {name} for name, tree in trees.items()}
    while ends := [name for name in looks_at if not looks_at[name] & looks_at.keys() or not looked_at(name, looks_at)]:
        for name in ends:
            del looks_at[name]
    assert [] == sorted(looks_at)


def looked_at(name: str, looks_at: dict[str, set[str]]) -> bool:
    return any(name in others for others in looks_at.values())


def with_modules(tree: ast.Module) -> Iterator[str]:
    """What is imported, and the module that each name is from."""
    for name in imported(tree):
        yield from (name, name.rpartition(".")[0])


def test_no_file_is_too_long_to_read() -> None:
    files = [PROJECT / "build.py", *PACKAGE.rglob("*.py"), *PROJECT.glob("tests/**/*.py")]
    long = {str(path.relative_to(PROJECT)): lines for path in files if (lines := path.read_text().count("\n")) > LINES}
    assert not long


def test_the_top_level_holds_what_it_may_and_no_more() -> None:
    kept = {"fledx", "build.py", "tests", "pyproject.toml", "LICENSE", "README.md"}
    command = ["git", "-c", "safe.directory=*", "-C", str(PROJECT), "ls-files"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    assert {name.partition("/")[0] for name in listed.stdout.split() if name[0] != "."} <= kept
