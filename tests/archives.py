"""Small archives with the real header, entry and `_boot.py`, whose command runs a line of Python."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import build
from fledx import _boot

MAIN = """
def main():
    import sys
    exec(sys.argv[1])
    return 0
"""


@dataclass(frozen=True)
class Archive:
    """A small `fledx.pyz`, and how to run a line of Python in it."""

    path: Path
    cache: Path

    def run(self, code: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-IS", *options, str(self.path), textwrap.dedent(code)]
        known = {"FLEDX_CACHE_DIR": str(self.cache), "PATH": os.defpath} | env
        return subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)

    def says(self, code: str, *options: str, **env: str) -> str:
        done = self.run(code, *options, **env)
        assert not done.stderr
        assert done.returncode == 0
        return done.stdout.strip()

    def kept(self) -> list[Path]:
        return sorted(path for path in self.cache.rglob("*") if path.is_file())


def _native_member() -> build.Member:
    """The backend of cffi that this interpreter has, where the archive carries its own."""
    found = importlib.util.find_spec("_cffi_backend")
    assert found is not None
    assert found.origin is not None
    name = f"_native/manylinux_{platform.machine()}/cp3{sys.version_info[1]}/_cffi_backend.so"
    return build.stored(name, Path(found.origin).read_bytes())


def make(path: Path, **modules: str) -> None:
    """Write an archive with these modules beside `_boot.py` and a command that runs its argument."""
    sources = {"fledx/__init__.py": "", "fledx/cli/__init__.py": "", "fledx/cli/main.py": MAIN}
    sources |= {f"{name}.py": text for name, text in modules.items()}
    members = [build.stored(name, textwrap.dedent(text).encode()) for name, text in sources.items()]
    boot = build.stored("fledx/_boot.py", Path(_boot.__file__).read_bytes())
    members += [build.stored("__main__.py", build.MAIN), boot, _native_member()]
    path.write_bytes(build.pack(members))
    path.chmod(0o755)
