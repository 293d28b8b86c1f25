"""A process that makes deployments until it is killed or the disk is full, and says which were acknowledged."""

from __future__ import annotations

import itertools
import resource
import sys
from pathlib import Path

import anyio

from fledx.control_plane.bell import Bell
from fledx.control_plane.changes import Changes
from fledx.control_plane.deployments import Deployments
from fledx.control_plane.store.database import Database
from fledx.errors import FledxError
from fledx.models.deployment import DeploymentSpec
from fledx.models.token import Operator

ME = Operator(name="tester")


def use_cases(path: Path) -> tuple[Database, Deployments]:
    """Those that a control plane has on this file."""
    store = Database(path)
    return store, Deployments(store, Changes(store, Bell(), None))


async def until_killed(path: Path, run: str) -> None:
    """One deployment after another, each said once it is acknowledged."""
    _, deployments = use_cases(path)
    for number in itertools.count():
        spec = DeploymentSpec(name=f"web-{run}-{number}", image="nginx", replicas=3, env={"PAD": "x" * 2000})
        await deployments.create(spec, by=ME)
        print(spec.name, flush=True)


async def until_full(path: Path) -> None:
    """Until the disk is full, then a read; with space again, one more."""
    store, deployments = use_cases(path)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    wal = path.with_name(path.name + "-wal")
    size = max(path.stat().st_size, wal.stat().st_size if wal.exists() else 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000, hard))
    for number in range(1000):
        try:
            await deployments.create(DeploymentSpec(name=f"web-{number}", image="nginx" + "x" * 200), by=ME)
        except FledxError as problem:
            print(f"{number} {problem.code} {problem.text} ({problem.hint})", flush=True)
            break
    print(len(store.read(lambda sql: sql.execute("SELECT 1 FROM deployment").fetchall())), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await deployments.create(DeploymentSpec(name="after", image="nginx"), by=ME)
    print("after", flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "full":
        anyio.run(until_full, Path(sys.argv[1]))
    else:
        anyio.run(until_killed, Path(sys.argv[1]), sys.argv[2])
