"""Choose all versions anew and write both locks; Python 3.10 resolves: only it sees what the floor must be given."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from tests.tools.machine import BUILD, ROOT, Stop, has_module, pip_environment, pythons, quiet, say
from tests.tools.wheels import LOCK, MACHINES, PYTHONS, Batch, batches

Item = dict[str, Any]
"""One package in pip's installation report."""

TESTS_LOCK = ROOT / "tests" / "requirements.lock"

NOT_SHIPPED = {
    "certifi": "agent/runtime/engine.py stands in for it; we name our CA files ourselves",
    "invoke": "paramiko wants it for `Match exec` only",
    "linkify-it-py": "textual's Markdown widget",
    "markdown-it-py": "textual's Markdown widget, rich.markdown",
    "mdit-py-plugins": "textual's Markdown widget",
    "mdurl": "markdown-it-py",
    "pycparser": "of cffi only the backend is used",
    "pygments": "rich.syntax, rich.traceback",
    "tzdata": "hosts have their own",
    "uc-micro-py": "linkify-it-py",
}
"""What the resolver adds and nothing of ours imports, with who would."""


def write() -> None:
    """Resolve the dependencies of pyproject.toml and write the lock of the archive and that of the tests."""
    runtime, dev = _requirements()
    command = [_floor(), "-m", "pip"]
    env = pip_environment(command)
    say("resolving what ships")
    shipped = _resolve(runtime, (), command, env)
    kept = {name: pin for name, pin in shipped.items() if name not in NOT_SHIPPED}
    _write(LOCK, kept, batches(sorted(kept)), command, env)
    say("resolving what the tests run with")
    everything = _resolve([*runtime, *dev], shipped.values(), command, env)
    _write(TESTS_LOCK, everything, _any_host(everything), command, env)


def _floor() -> str:
    python = next((path for version, path in pythons().items() if version.startswith("3.10.")), None)
    if not python:
        raise Stop("the lock is resolved by Python 3.10, the oldest that fledx runs on, and there is none here")
    if not has_module(python, "pip"):
        raise Stop(f"{python} has no pip; install python3.10-venv or python3-pip for it")
    return python


def _requirements() -> tuple[list[str], list[str]]:
    """What pyproject.toml asks for: what ships, and what development adds."""
    if sys.version_info >= (3, 11):
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        return project["project"]["dependencies"], project["dependency-groups"]["dev"]
    raise Stop("`build.py lock` reads pyproject.toml and so has to be run by Python 3.11 or newer")


def _resolve(
    wanted: Iterable[str], pins: Iterable[str], command: Sequence[str], env: Mapping[str, str]
) -> dict[str, str]:
    """Normalised name -> `name==version` of everything that `wanted` needs on Python 3.10, in agreement with `pins`."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, agreed = Path(scratch, "requirements.txt"), Path(scratch, "constraints.txt")
        asked.write_text("\n".join(wanted))
        agreed.write_text("\n".join(pins))
        options = ["--only-binary=:all:", "-r", str(asked), "-c", str(agreed)]
        chosen = _report(options, command, env)
    return {_normal(item): f"{_normal(item)}=={item['metadata']['version']}" for item in chosen}


def _write(
    path: Path, pins: Mapping[str, str], hosts: Iterable[Batch], command: Sequence[str], env: Mapping[str, str]
) -> None:
    """Ask the index which wheel each batch gets, and write the pins with the hashes of all of them."""
    hashes: dict[str, set[str]] = {name: set() for name in pins}

    def ask(batch: Batch) -> list[Item]:
        wanted = [pins[name] for name in batch.names]
        return _report([*batch.options(), "--target", str(BUILD / "nowhere"), *wanted], command, env)

    with ThreadPoolExecutor(4) as pool:
        for item in chain.from_iterable(pool.map(ask, hosts)):
            hashes[_normal(item)].add(item["download_info"]["archive_info"]["hash"].replace("=", ":"))
    entries = (" \\\n    --hash=".join([pins[name], *sorted(hashes[name])]) for name in sorted(pins))
    path.write_text("# Written by `python3 build.py lock`.\n" + "\n".join(entries) + "\n")
    say(f"{path.relative_to(ROOT)}: {len(pins)} packages, {sum(map(len, hashes.values()))} wheels")


def _any_host(pins: Mapping[str, str]) -> Iterator[Batch]:
    """Each Python that may run the tests, on each machine."""
    for machine in MACHINES:
        platforms = tuple(f"{kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"))
        for python in PYTHONS[:-1]:
            yield Batch(tuple(pins), python, platforms)


def _report(options: Sequence[str], command: Sequence[str], env: Mapping[str, str]) -> list[Item]:
    said = quiet([*command, "install", "-q", "--dry-run", "--ignore-installed", "--report", "-", *options], env)
    items: list[Item] = json.loads(said)["install"]
    return items


def _normal(item: Item) -> str:
    return re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
