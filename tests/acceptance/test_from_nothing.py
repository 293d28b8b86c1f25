"""A newcomer's first command, on a Debian host that has Python and git and nothing else."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.bed.host import Host
from tests.tools.machine import ROOT

pytestmark = [pytest.mark.bed, pytest.mark.slow]


def packed(folder: Path) -> bytes:
    """The checkout as a newcomer has it: what git knows, nothing that was built."""
    listed = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in filter(None, listed.decode().split("\0")):
            if (folder / name).exists():
                archive.add(folder / name, arcname=f"fledx/{name}")
    return held.getvalue()


def test_the_demo_sets_up_all_it_needs_and_holds(fresh_host: Host, tmp_path: Path) -> None:
    """No pip, no venv, no Docker engine: `build.py demo --check` gets them, shows the whole story, and cleans up."""
    checkout = tmp_path / "checkout.tar"
    checkout.write_bytes(packed(ROOT))
    fresh_host.put(checkout, "/root/checkout.tar")

    fresh_host.shell("cd /root && tar xf checkout.tar")
    done = fresh_host.ssh_finish("cd fledx && python3 build.py demo --check 2>&1", user="root", timeout=600)
    said = done.stdout

    assert done.returncode == 0, said

    assert "ok    delete: no container is left" in said
    assert fresh_host.shell("docker ps -aq 2>/dev/null || true").strip() == ""
