"""What a file is that is to be shipped."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest

from fledx.bootstrap.layout import ARCHIVE, Layout
from fledx.bootstrap.package import read_package
from fledx.errors import InvalidSpec

HEADER = b"#!/bin/sh\nexec python3 -IS $0\n"
VERSION = '"""fledx"""\n__version__ = "1.2.3"\n'
BOOT = 'BUILD: str | None = "0123456789abcdef"\n'


def archive(**members: str) -> bytes:
    raw = io.BytesIO()
    raw.write(HEADER)
    with zipfile.ZipFile(raw, "a") as file:
        for name, text in members.items():
            file.writestr(name.replace("__init__", "/__init__").replace("_boot", "/_boot") + ".py", text)
        file.writestr("_native/manylinux_x86_64/abi3/x.so", b"")
        file.writestr("_native/manylinux_aarch64/abi3/x.so", b"")
    return raw.getvalue()


def test_a_file_tells_version_build_and_machines_and_is_known_by_its_digest() -> None:
    data = archive(fledx__init__=VERSION, fledx_boot=BOOT)
    package = read_package(data, "x")
    assert ("1.2.3", "0123456789abcdef", ("aarch64", "x86_64")) == (package.version, package.build, package.machines)
    assert hashlib.sha256(data).hexdigest() == package.digest
    assert "data" not in repr(package)


def test_the_name_on_the_host_tells_version_and_build_back() -> None:
    name = Layout().archive("1.2.3", "0123456789abcdef").rpartition("/")[2]
    match = ARCHIVE.fullmatch(name)
    assert match is not None
    assert ("1.2.3", "0123456789abcdef") == (match["version"], match["build"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip at all",
        archive(),
        archive(fledx__init__=VERSION),
        archive(fledx__init__=VERSION, fledx_boot="BUILD: str | None = None\n"),
        archive(fledx__init__=VERSION, fledx_boot=BOOT)[:-40],
    ],
    ids=["empty", "text", "another zip", "no boot", "not built", "cut short"],
)
def test_anything_else_is_refused_by_the_name_it_was_given(data: bytes) -> None:
    with pytest.raises(InvalidSpec, match=r"\./odd is not a fledx\.pyz"):
        read_package(data, "./odd")
