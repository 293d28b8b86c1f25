"""
The root file system of the sample image, gathered from the machine it runs on.

What goes in is what the running interpreter needs: its executable, the standard library, the shared libraries both are
linked with, a shell with a few tools for `exec`, and `fledx.sample.app`. Everything keeps the path it has here, so that
prefixes and library search paths stay true.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from fledx.errors import Unavailable

SHELL_TOOLS = "sh cat dd env grep head id kill ls rm seq sleep stty tail touch tty yes"

PRUNED_DIRECTORIES = re.compile(
    r"(_pyrepl|config-.*|curses|dbm|distutils|ensurepip|idlelib|lib2to3|msilib|pydoc_data|(site|dist)-packages|sqlite3|"
    r"tests?|tkinter|turtledemo|unittest|venv|wsgiref|xmlrpc)$"
)
PRUNED_EXTENSIONS = re.compile(
    r"_codecs_|_ctypes_test|_curses|_g?dbm|_sqlite3|_test|_tkinter|_?xx|nis|ossaudio|readline"
)

WRITTEN = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}

Files: TypeAlias = Mapping[str, Path | bytes]
"""A file system by path, without the leading slash: a file to copy, or the content itself."""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """The Python that runs this process, as a virtual environment or a zip may hide it: always absolute, real paths."""

    executable: Path
    stdlib: Path
    extensions: Path

    @classmethod
    def running(cls) -> Interpreter:
        """The interpreter below us; of a virtual environment, the one it was made from."""
        executable = Path(getattr(sys, "_base_executable", "") or sys.executable or "/proc/self/exe").resolve()
        stdlib = Path(os.__file__).resolve().parent
        beside = stdlib / "lib-dynload"
        return cls(
            executable=executable,
            stdlib=stdlib,
            extensions=beside if beside.is_dir() else Path(sysconfig.get_config_var("DESTSHARED") or stdlib),
        )


def gather(python: Interpreter) -> Files:
    """All files of the image that runs the sample app on this interpreter."""
    programs = {"usr/bin/python3": python.executable, **dict(_tools())}
    modules = dict(_standard_library(python))
    native = [path for path in modules.values() if path.suffix == ".so"]
    libraries = libraries_of(loader_of(python.executable), [*programs.values(), *native])
    found: dict[str, Path | bytes] = {**programs, **modules, inside(python.executable): python.executable}
    found.update((inside(path), path) for path in libraries)
    cache = Path("/etc/ld.so.cache")
    if cache.exists():
        found[inside(cache)] = cache
    app = importlib.resources.files("fledx.sample").joinpath("app.py").read_bytes()
    return {**found, **WRITTEN, "app/app.py": app}


def inside(path: Path) -> str:
    return str(path).lstrip("/")


def _tools() -> Iterator[tuple[str, Path]]:
    """A shell and its companions, those that this machine has."""
    for name in SHELL_TOOLS.split():
        found = shutil.which(name, path="/bin:/usr/bin")
        if found:
            yield f"bin/{name}", Path(found)


def _standard_library(python: Interpreter) -> Iterator[tuple[str, Path]]:
    """Sources, their ready bytecode and extension modules, without what a small web app will not miss."""
    tag = f".{sys.implementation.cache_tag}.pyc"
    for root in {python.stdlib, python.extensions}:
        for folder, directories, names in os.walk(root):
            directories[:] = [name for name in directories if not PRUNED_DIRECTORIES.match(name)]
            for name in names:
                if name.endswith((".py", tag)) or (name.endswith(".so") and not PRUNED_EXTENSIONS.match(name)):
                    path = Path(folder, name)
                    yield inside(path), path


def loader_of(program: Path) -> Path:
    """The dynamic loader that an executable asks for: the PT_INTERP entry of its ELF program headers (elf(5))."""
    data = program.read_bytes()
    if data[:4] != b"\x7fELF":
        raise Unavailable(f"{program} is not a Linux executable", hint="run fledx with a plain CPython")
    wide = data[4] == 2
    order, word = ("<" if data[5] == 1 else ">"), ("Q" if wide else "I")
    (table,) = struct.unpack_from(order + word, data, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", data, 54 if wide else 42)
    for entry in range(table, table + size * count, size):
        if struct.unpack_from(f"{order}I", data, entry) == (3,):
            (start,) = struct.unpack_from(order + word, data, entry + (8 if wide else 4))
            return Path(data[start : data.index(0, start)].decode())
    raise Unavailable(
        f"{program} is linked statically", hint="run fledx with a CPython that can load extension modules"
    )


def libraries_of(loader: Path, objects: list[Path]) -> set[Path]:
    """
    The loader, and every shared library it would load for these programs and modules.

    Asked of the loader itself, half a millisecond an object; `ldd` is a shell script around the same, ten times slower.
    """
    found = {loader}
    for path in objects:
        asked = subprocess.run([loader, "--list", path], capture_output=True, text=True, check=False)
        for line in asked.stdout.splitlines():
            name, _, address = line.strip().rpartition(" ")
            where = name.rpartition("=> ")[2]
            if address.startswith("(0x") and where.startswith("/"):
                found.add(Path(where))
    return found


def digest_of(files: Files) -> str:
    """Changes when a file's content would: by name, size and time of those that are copied, by content of ours."""
    digest = hashlib.sha256()
    for name, source in sorted(files.items()):
        if isinstance(source, bytes):
            content = hashlib.sha256(source).hexdigest()
        else:
            facts = source.stat()
            content = f"{facts.st_size} {facts.st_mtime_ns}"
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()[:32]


def write_tar(out: IO[bytes], files: Files) -> None:
    """Write the files, with their directories, to a stream that need not be seekable."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=256 * 1024) as archive:
        for info in _directories(files):
            archive.addfile(info)
        links = _links(files)
        for name, source in sorted(files.items()):
            if isinstance(source, bytes):
                archive.addfile(_entry(name, size=len(source)), io.BytesIO(source))
            elif name in links:
                archive.addfile(_entry(name, kind=tarfile.SYMTYPE, target=f"/{links[name]}"))
            else:
                _add_copy(archive, name, source)


def _links(files: Files) -> dict[str, str]:
    """The names under which a file comes again, with the one that holds it: its own path if that is among them."""
    held: dict[str, str] = {}
    links = {}
    for name, source in sorted(files.items()):
        if isinstance(source, Path):
            real = inside(source.resolve())
            holder = held.setdefault(real, real if real in files else name)
            if holder != name:
                links[name] = holder
    return links


def _add_copy(archive: tarfile.TarFile, name: str, source: Path) -> None:
    """Copy with the time of the original: Python trusts bytecode only beside a source of the time it was made from."""
    facts = source.stat()
    with source.open("rb") as content:
        info = _entry(name, size=facts.st_size, mode=facts.st_mode & 0o755, mtime=int(facts.st_mtime))
        archive.addfile(info, content)


def _directories(files: Mapping[str, object]) -> Iterator[tarfile.TarInfo]:
    """Every directory explicitly: an engine gives those that are left out modes of its own choice."""
    parents = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    for name in sorted(parents | {"tmp", "root", "proc", "sys", "dev"}):
        yield _entry(name, kind=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)


def _entry(
    name: str, *, size: int = 0, mode: int = 0o644, mtime: int = 0, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.type, info.linkname = size, mode, mtime, kind, target
    info.uname = info.gname = "root"
    return info
