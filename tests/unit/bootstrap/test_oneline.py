"""The line for a new host, run by a real shell with a download that is a copy."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from fledx.bootstrap.oneline import line_for
from fledx.bootstrap.package import Package

URL = "https://cp.example.com:8080"
FILE = b"""#!/bin/sh
echo "$@"
cat
echo "called by: $(tr '\\0' ' ' </proc/$PPID/cmdline)" >&2
"""


def package(data: bytes = FILE) -> Package:
    return Package(version="1", build="ab", digest=hashlib.sha256(data).hexdigest(), machines=(), data=data)


def pasted(tmp_path: Path, line: str, *, tool: str = "curl") -> subprocess.CompletedProcess[str]:
    """What a shell makes of the line where `tool` is all there is to download with, and no sudo."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "fledx.pyz").write_bytes(FILE)
    flag = {"curl": "-o", "wget": "-O"}[tool]
    copy = f'#!/bin/sh\nwhile [ "$1" != {flag} ]; do shift; done\ncp {tmp_path}/fledx.pyz "$2"\n'
    (programs / tool).write_text(copy)
    (programs / tool).chmod(0o755)
    for name in ("sh", "mktemp", "sha256sum", "cat", "cp", "rm", "tr"):
        (programs / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    environ = {"PATH": str(programs), "TMPDIR": str(tmp_path)}
    return subprocess.run(["/bin/sh"], input=line, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", ["curl", "wget"])
def test_it_fetches_checks_and_runs_the_file_which_reads_the_join_string(tmp_path: Path, tool: str) -> None:
    line = line_for(URL, package(), "fledx-join.abc")
    assert line is not None
    assert "\n" not in line
    done = pasted(tmp_path, line, tool=tool)
    assert ("bootstrap agent --local --join -\nfledx-join.abc\n", 0) == (done.stdout, done.returncode)
    assert "fledx-join" not in done.stderr
    assert ["bin", "fledx.pyz"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_file_of_another_digest_is_not_run(tmp_path: Path) -> None:
    line = line_for(URL, package(b"what was meant"), "fledx-join.abc")
    assert line is not None
    done = pasted(tmp_path, line)
    assert done.returncode != 0
    assert "bootstrap" not in done.stdout
    assert ["bin", "fledx.pyz"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"])
def test_an_address_that_means_the_machine_itself_gives_no_line(url: str) -> None:
    assert line_for(url, package(), "fledx-join.abc") is None
