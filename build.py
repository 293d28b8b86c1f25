#!/usr/bin/env python3
"""
The one command of a developer: makes `dist/fledx.pyz`, runs the demo, the tests and the benchmarks.

The archive is a shell header that finds a Python, then our own files as they are and those of the locked wheels, whose
compressed bytes are copied as they lie there. No compressor runs, names are sorted and dates fixed: two builds of one
tree are equal to the byte on any machine. The syntax here is no newer than Python 3.6, which can so be told in one line
that it is too old.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(f"build.py needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}")

import argparse
import hashlib
import re
import signal
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from fledx._boot import NATIVE  # noqa: E402
from tests.tools import checks, engine, lock, wheels  # noqa: E402
from tests.tools.machine import Stop, run, say  # noqa: E402

OUTPUT = ROOT / "dist" / "fledx.pyz"

# -I and -S keep the host's Python settings and packages out and save their time. The marker lets argcomplete's global
# completion find us: it reads the first kilobyte only.
HEADER = b"""\
#!/bin/sh
# PYTHON_ARGCOMPLETE_OK
p=${FLEDX_PYTHON:-python3}
command -v "$p" >/dev/null 2>&1 || for p in python3.14 python3.13 python3.12 python3.11 python3.10; do
  command -v $p >/dev/null 2>&1 && break
done
command -v "$p" >/dev/null 2>&1 || { echo "fledx needs Python 3.10 or newer, and found no python3" >&2; exit 1; }
exec "$p" -IS "$0" "$@"
"""

# Every Python has to be able to read this one, the oldest included.
MAIN = b"""\
import sys
if sys.version_info < (3, 10):
    sys.exit("fledx needs Python 3.10 or newer; %s is %d.%d. FLEDX_PYTHON=/path/to/python names another."
             % ((sys.executable,) + tuple(sys.version_info[:2])))
boot = type(sys)("fledx._boot")
boot.__loader__ = __loader__
boot.__file__ = __loader__.archive + "/fledx/_boot.py"
sys.modules[boot.__name__] = boot
exec(compile(__loader__.get_data(boot.__file__), boot.__file__, "exec"), boot.__dict__)
boot.install()
import fledx
fledx._boot = boot
try:
    from fledx.cli.main import main
    code = main()
except ImportError as problem:
    if problem.name and problem.name.partition(".")[0] in sys.stdlib_module_names:
        sys.exit("fledx: %s lacks the module %s of Python's own library; install the whole Python (on Debian: python3)"
                 % (sys.executable, problem.name))
    raise
sys.exit(code)
"""

# What ships is what something of ours can import. `argcomplete/packages` and `rich/_unicode_data` only look unused.
DROPPED = re.compile(
    r"""
    .*\.(pyi|so|c|h|cfg|toml)
    | .*/(py\.typed|tests/.*)
    | .*\.dist-info/(?!METADATA$|.*(LICEN[CS]E|COPYING|NOTICE|AUTHORS)).*
    | _yaml/.* | cffi/.*
    | anyio/(pytest_plugin|_backends/_trio)\.py
    | cattr/.*
    | charset_normalizer/(cli/.*|__main__\.py)
    | hypercorn/trio/.*
    | prometheus_client/(bridge|django|twisted)/.*
    | textual/(demo|tree-sitter)/.*
    | urllib3/contrib/emscripten/.*
    """,
    re.VERBOSE,
)

# pip calls them by other names than the interpreter does.
SHARED_OBJECT = re.compile(r"(?P<module>.+?)\.(?P<tag>abi3|cpython-\d+-(?P<machine>\w+?)-linux-gnu)\.so")


@dataclass(frozen=True)
class Member:
    """One file of the archive; `data` as it is stored: raw (method 0) or deflated (8)."""

    name: str
    data: bytes
    method: int
    crc: int
    size: int

    def fields(self) -> tuple[int, ...]:
        """What its local header and its entry in the central directory share; the date is 1980-01-01."""
        return self.method, 0, 0x21, self.crc, len(self.data), self.size, len(self.name), 0

    def header(self) -> bytes:
        """What stands before the data."""
        return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, *self.fields()) + self.name.encode("ascii")

    def entry(self, offset: int) -> bytes:
        """Its line in the central directory; `offset` is where the header begins."""
        rest = (0, 0, 0, 0o100644 << 16, offset)
        return struct.pack("<4s4B4H3L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, *self.fields(), *rest) + self.name.encode(
            "ascii"
        )


def stored(name: str, data: bytes) -> Member:
    """A file of ours, as it is."""
    return Member(name, data, 0, zlib.crc32(data), len(data))


def assemble(fetched: Iterable[Path]) -> bytes:
    """The whole archive, made of the fetched wheels and of our own files as they are now."""
    members: dict[str, Member] = {}
    for member in chain(chain.from_iterable(map(shipped, fetched)), own_files()):
        known = members.setdefault(member.name, member)
        if (known.crc, known.size) != (member.crc, member.size):
            raise Stop(f"two wheels carry a different {member.name}")
    check(members)
    return pack(members.values())


def shipped(wheel: Path) -> Iterator[Member]:
    """The members of a wheel that ship, native modules under the name by which `fledx/_boot.py` looks for them."""
    with zipfile.ZipFile(wheel) as archive, wheel.open("rb") as raw:
        for info in archive.infolist():
            name = info.filename
            native = SHARED_OBJECT.fullmatch(name)
            module = native["module"].replace("/", ".") if native else ""
            if info.is_dir() or (DROPPED.fullmatch(name) and module not in NATIVE):
                continue
            if native:
                python = "abi3" if native["tag"] == "abi3" else "cp" + native["tag"].split("-")[1]
                name = f"_native/{platform(wheel)}/{python}/{module}.so"
            raw.seek(info.header_offset + 26)
            raw.seek(sum(struct.unpack("<2H", raw.read(4))), 1)
            yield Member(name, raw.read(info.compress_size), info.compress_type, info.CRC, info.file_size)


def platform(wheel: Path) -> str:
    """`manylinux_x86_64` or `manylinux_aarch64`, after the wheel's own tags."""
    return f"manylinux_{next(name for name in wheels.MACHINES if wheel.stem.endswith(name))}"


def own_files() -> Iterator[Member]:
    """Our package as it is now, and the entry that runs it."""
    yield stored("__main__.py", MAIN)
    for path in (ROOT / "fledx").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield stored(path.relative_to(ROOT).as_posix(), path.read_bytes())


def check(members: dict[str, Member]) -> None:
    """Stop where the archive would not import as `fledx/_boot.py` expects it to."""
    for name in members:
        package = name.rpartition("/")[0]
        if name.endswith(".py") and package and f"{package}/__init__.py" not in members:
            raise Stop(f"{name} lies in a folder without __init__.py, which _boot.py does not import from")
    for machine in wheels.MACHINES:
        carried = {name.split("/")[3][:-3] for name in members if name.startswith(f"_native/manylinux_{machine}/")}
        if carried != NATIVE:
            raise Stop(f"the native modules for {machine} are {sorted(carried)}, and _boot.py names {sorted(NATIVE)}")


def pack(members: Iterable[Member]) -> bytes:
    """Lay the members out as a zip file behind the shell header."""
    ordered = bake(sorted(members, key=lambda member: member.name))
    body, directory = bytearray(HEADER), bytearray()
    for member in ordered:
        if member.method not in (0, 8):
            raise Stop(f"{member.name} is compressed by method {member.method}, which zipimport cannot read")
        directory += member.entry(len(body))
        body += member.header() + member.data
    count = len(ordered)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + end)


def bake(members: list[Member]) -> list[Member]:
    """Write the identity of the build, a digest of all its content, into `fledx/_boot.py`."""
    digest = hashlib.sha256(HEADER)
    for member in members:
        digest.update(f"{member.name} {hashlib.sha256(member.data).hexdigest()}\n".encode())
    line = b'BUILD: str | None = "%s"' % digest.hexdigest()[:16].encode()
    boot = next(member for member in members if member.name == "fledx/_boot.py")
    baked = stored(boot.name, boot.data.replace(b"BUILD: str | None = None", line, 1))
    return [baked if member is boot else member for member in members]


def build(*, install: bool) -> Path:
    """Make `dist/fledx.pyz` and return its path."""
    data = assemble(wheels.fetch(install=install))
    OUTPUT.parent.mkdir(exist_ok=True)
    fresh = OUTPUT.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.chmod(0o755)
    fresh.replace(OUTPUT)
    say(f"{OUTPUT.relative_to(ROOT)}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    return OUTPUT


def compare(file: str, *, install: bool) -> int:
    """Build in memory and say whether `file` is that, to the byte."""
    same = assemble(wheels.fetch(install=install)) == Path(file).read_bytes()
    say(f"{file} is {'exactly' if same else 'NOT'} what this tree makes")
    return 0 if same else 1


def demo(arguments: list[str], *, install: bool) -> int:
    """Build, see to a Docker engine, and run the demo of the archive."""
    pyz = build(install=install)
    with engine.running(install=install):
        return run([sys.executable, "-IS", pyz, "demo", *arguments])


COMMANDS = """\
commands:
  (none)               make dist/fledx.pyz
  demo [...]           make it and run its demo with these arguments, such as --check
  test [...]           format, lint, types and the whole suite; other arguments go to pytest
    --quick            what every commit must pass, in under two minutes: nothing slow, no Docker
    --seed N           of the tests that draw at random
    --soak             far more rounds of these
  bench [NAME ...]     the benchmarks of tests/benchmarks, or those named
  lock                 choose all versions anew and write fledx/requirements.lock and tests/requirements.lock
"""


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description="Makes, runs and tests fledx.", epilog=COMMANDS, formatter_class=form)
    parser.add_argument("--check", metavar="FILE", help="say whether FILE is what this tree makes, to the byte")
    parser.add_argument(
        "--no-install", action="store_true", help="install nothing from the distribution; explain instead"
    )
    parser.add_argument("command", nargs="?", choices=["demo", "test", "bench", "lock"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    chosen = parser.parse_args(arguments)
    install = not (chosen.no_install or "--no-install" in chosen.arguments)
    rest = [word for word in chosen.arguments if word != "--no-install"]
    if chosen.check:
        return compare(chosen.check, install=install)
    if chosen.command == "demo":
        return demo(rest, install=install)
    if chosen.command == "test":
        return checks.test(rest, build, install=install)
    if chosen.command == "bench":
        return checks.bench(rest, build, install=install)
    if chosen.command == "lock":
        lock.write()
    else:
        build(install=install)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started here shall be stopped
    try:
        sys.exit(main(sys.argv[1:]))
    except Stop as problem:
        sys.exit(f"build.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
