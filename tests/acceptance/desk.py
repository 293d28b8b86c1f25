"""An operator's desk: a home of its own with the bed's SSH key, and the built file to work with."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.hosts import Hosts

SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and what it said on either stream."""

    code: int
    out: str
    err: str

    def facts(self) -> list[dict[str, Any]]:
        """What --json said of each host."""
        found: list[dict[str, Any]] = json.loads(self.out)["hosts"]
        return found


class Desk:
    """Runs `fledx`; profiles and known hosts lie in `home`, host names are those of the bed."""

    def __init__(self, pyz: Path, home: Path, bed: Hosts) -> None:
        self.pyz = pyz
        self.home = home
        self.bed = bed
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        (home / ".ssh/config").write_text(
            f"Host *\n  UserKnownHostsFile {self.known_hosts}\nInclude {bed.ssh_config}\n"
        )
        self.environ = {"HOME": str(home), "PATH": os.environ["PATH"], "FLEDX_CACHE_DIR": str(home / "cache")}
        (home / "cache").mkdir(mode=0o700)

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh/known_hosts"

    def run(self, *words: str, stdin: str = "", pyz: Path | None = None) -> Ended:
        """A command to its end, in a session without a terminal: what it asks it reads from `stdin`."""
        done = subprocess.run(
            [str(pyz or self.pyz), *words],
            env=self.environ,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=SECONDS,
            start_new_session=True,
            check=False,
        )
        return Ended(code=done.returncode, out=done.stdout, err=done.stderr)

    def does(self, *words: str, stdin: str = "", pyz: Path | None = None) -> Ended:
        """The same, and it must end well."""
        ended = self.run(*words, stdin=stdin, pyz=pyz)
        assert 0 == ended.code, f"fledx {' '.join(words)} ended with {ended.code}:\n{ended.out}{ended.err}"
        return ended

    def until(self, line: str, then: Callable[[], None], *words: str) -> Ended:
        """Run a command, and do something as soon as it says this on stderr, while it is held up there; its end."""
        process = subprocess.Popen(
            [str(self.pyz), *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            assert process.stderr is not None
            assert process.stdout is not None
            heard = []
            for text in process.stderr:
                heard.append(text)
                if line in text:
                    process.send_signal(signal.SIGSTOP)
                    try:
                        then()
                    finally:
                        process.send_signal(signal.SIGCONT)
                    break
            heard.append(process.stderr.read())
            out = process.stdout.read()
        return Ended(code=process.returncode, out=out, err="".join(heard))

    def first_words(self, line: str, *words: str) -> str:
        """What a command prints that runs until it is interrupted, up to a line with `line`; then it is interrupted."""
        process = subprocess.Popen(
            [str(self.pyz), *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        heard = []
        with process:
            assert process.stdout is not None
            for text in process.stdout:
                heard.append(text)
                if line in text:
                    break
            process.send_signal(signal.SIGINT)
            process.stdout.read()
        return "".join(heard)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes by name, as the control plane knows them."""
        items = json.loads(self.does("nodes", "list", "--json").out)["items"]
        return {item["name"]: item for item in items}


def rebuilt(pyz: Path, target: Path, *, version: str, broken: bool = False) -> Path:
    """
    The archive as another version with a build of its own; a broken one ends as soon as it is started.

    Made from the built file, so that it needs no second build: only its own names for itself change.
    """
    raw = pyz.read_bytes()
    with zipfile.ZipFile(io.BytesIO(raw)) as old:
        start = min(info.header_offset for info in old.infolist())
        made = io.BytesIO(raw[:start])
        with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for info in old.infolist():
                new.writestr(_named(info), _changed(info.filename, old.read(info), version, broken=broken))
    target.write_bytes(made.getvalue())
    target.chmod(0o755)
    return target


def _named(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    copy.compress_type = info.compress_type
    copy.external_attr = info.external_attr
    return copy


def _changed(name: str, data: bytes, version: str, *, broken: bool) -> bytes:
    if name == "fledx/__init__.py":
        return re.sub(rb'__version__ = "[^"]+"', f'__version__ = "{version}"'.encode(), data)
    if name == "fledx/_boot.py":
        build = version.encode().hex().ljust(16, "0")[:16]
        return re.sub(rb'(\nBUILD[^=\n]*= )"[0-9a-f]+"', rb'\1"' + build.encode() + b'"', data)
    if name == "__main__.py" and broken:
        return b'import sys\nsys.exit("this build is broken")\n'
    return data
