"""The file that is shipped: this one, the control plane's, or one that the operator names."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
import zipfile
from dataclasses import dataclass

from fledx import _boot
from fledx.errors import InvalidSpec

VERSION = re.compile(r'^__version__\s*=\s*"([^"]+)"', re.MULTILINE)
BUILD = re.compile(r'^BUILD[^=\n]*=\s*"([0-9a-f]{8,64})"', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A whole `fledx.pyz`; ``digest`` is its SHA-256 in hex, ``machines`` those it brings native modules for."""

    version: str
    build: str
    digest: str
    machines: tuple[str, ...]
    data: bytes = dataclasses.field(repr=False)


def running_package() -> Package:
    """The file that runs now, as it was when it started, whatever lies under its name by now."""
    if _boot.archive() is None:
        raise InvalidSpec(
            "version",
            "bootstrap ships the running file, and this is a checkout",
            hint="make one with `python3 build.py` and run dist/fledx.pyz, or name a file with --version",
        )
    descriptor, pieces, at = _boot.open_archive(), [], 0
    while piece := os.pread(descriptor, 1 << 20, at):
        pieces.append(piece)
        at += len(piece)
    return read_package(b"".join(pieces), "the running file")


def package_at(path: str) -> Package:
    """The file at this path; InvalidSpec when it is none of ours."""
    try:
        with open(path, "rb") as file:
            return read_package(file.read(), path)
    except OSError as problem:
        raise InvalidSpec("version", f"{path} cannot be read: {problem.strerror or problem}") from None


def read_package(data: bytes, origin: str) -> Package:
    """What these bytes are; `origin` names them in the message when they are not a `fledx.pyz`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            version = VERSION.search(archive.read("fledx/__init__.py").decode())
            build = BUILD.search(archive.read("fledx/_boot.py").decode())
            names = archive.namelist()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, ValueError):
        version = build = None
    if version is None or build is None:
        raise InvalidSpec("version", f"{origin} is not a fledx.pyz", hint="`python3 build.py` makes one")
    prefix = "_native/manylinux_"
    machines = {name[len(prefix) :].partition("/")[0] for name in names if name.startswith(prefix)}
    return Package(
        version=version[1],
        build=build[1],
        digest=hashlib.sha256(data).hexdigest(),
        machines=tuple(sorted(machines)),
        data=data,
    )
