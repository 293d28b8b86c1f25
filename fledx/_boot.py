"""
Imports from the running `fledx.pyz`: a module is compiled once per host, a native one is unpacked when it is imported.

The archive holds sources. The code object of each module is kept in a cache directory that belongs to this user alone,
one directory a build: a warm start compiles nothing, and nothing is extracted beforehand. All is read through a
descriptor opened at start, so that a newer file may be renamed over the running one. Where no cache can be had, modules
are compiled and native ones loaded in memory. In a checkout nothing here does anything and `archive()` is None.

Runs before all else on every start: at the top it imports only what the interpreter has loaded by then.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
import zipimport
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import CodeType, ModuleType

# build.py writes the identity of the build into this line.
BUILD: str | None = None

NATIVE = frozenset({"_cffi_backend", "bcrypt._bcrypt", "cryptography.hazmat.bindings._rust", "nacl._sodium"})
"""The native modules that ship, all of them needed by paramiko or cryptography; all else is pure Python."""

DAY = 86400
KEEP_SECONDS = 30 * DAY
"""How long the cache of another build is kept after it was last used."""


def archive() -> str | None:
    """The path of the running archive as it was at start, absolute; None in a checkout."""
    return Zip.running.path if Zip.running else None


def open_archive() -> int:
    """The descriptor opened at start; it stays ours: `os.pread` it or open `/proc/self/fd/N`, do not seek it."""
    if not Zip.running:
        raise FileNotFoundError("fledx does not run from an archive here")
    return Zip.running.descriptor


def build_id() -> str | None:
    """The identity of the running build, 16 hexadecimal digits; None in a checkout."""
    return BUILD if Zip.running else None


def cache() -> str | None:
    """The directory of what this build compiled and unpacked; None where none can be had."""
    return Zip.running.cache if Zip.running else None


def install() -> None:
    """
    Import from the archive in this process; a child that multiprocessing spawned calls it first.

    Should a later Python change what this relies on, zipimport's own slower imports stay in place.
    """
    loader = globals().get("__loader__")
    if Zip.running or not BUILD or not isinstance(loader, zipimport.zipimporter):
        return
    try:
        Zip.running = Archive(loader.archive, BUILD)
    except Exception:
        return
    for path in list(sys.path_importer_cache):
        if path == loader.archive or path.startswith(loader.archive + "/"):
            del sys.path_importer_cache[path]
    sys.path_hooks.insert(0, Zip)
    sys.meta_path.insert(0, NativeFinder)


class Archive:
    """The running file: its table of contents, a descriptor that outlives its name, and where its cache lies."""

    def __init__(self, path: str, build: str) -> None:
        self.path = path
        self.members = zipimport.__dict__["_zip_directory_cache"][path]
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.cache = find_cache(build)
        self.code = f"{sys.implementation.cache_tag}-{sys.hexversion:x}-{sys.flags.optimize}"

    def read(self, name: str) -> bytes:
        """The content of a member; ImportError when the file was overwritten in place meanwhile."""
        _, method, stored, _, offset, _, _, crc = self.members[name]
        head = 30 + len(name)  # build.py writes ASCII names and no extra fields
        data = os.pread(self.descriptor, head + stored, offset)
        intact = data[:4] == b"PK\3\4" and data[14:18] == crc.to_bytes(4, "little") and data[30:head] == name.encode()
        if not intact or len(data) != head + stored:
            raise zipimport.ZipImportError(f"{self.path} was overwritten while in use; start fledx again")
        if not method:
            return data[head:]
        import zlib

        return zlib.decompress(memoryview(data)[head:], -15)

    def cached(self, group: str, name: str) -> bytes:
        """What `keep` has kept; OSError when there is nothing."""
        with open(f"{self.cache}/{group}/{name}", "rb", 0) as file:
            return file.read()

    def keep(self, group: str, name: str, data: bytes) -> str:
        """Put a file into the cache, whole or not at all, and return its path; OSError when that cannot be."""
        if not self.cache:
            raise FileNotFoundError("no cache directory")
        path = f"{self.cache}/{group}/{name}"
        temporary = f"{path}.{os.getpid()}~"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o600)
        except FileNotFoundError:
            for directory in (os.path.dirname(self.cache), self.cache, f"{self.cache}/{group}"):
                _make(directory)
            descriptor = os.open(temporary, flags, 0o600)
        try:
            with open(descriptor, "wb", 0) as file:
                written = file.write(data)
                if group == "native":
                    os.fsync(descriptor)
            if written != len(data):
                raise OSError("no space left for the cache")
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        return path


class Zip(zipimport.zipimporter):
    """zipimport by the open descriptor and the code cache; the plain one compiles each module twice at every start."""

    running: Archive | None = None

    def __init__(self, path: str) -> None:
        here = self.running
        if here is None or (path != here.path and not path.startswith(here.path + "/")):
            raise ImportError(f"{path} is not in the running archive")
        self.here = here
        self.archive = here.path
        self.prefix = path[len(here.path) + 1 :] + "/" if path != here.path else ""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        stem = self.prefix + fullname.rpartition(".")[2]
        is_package = f"{stem}/__init__.py" in self.here.members
        name = f"{stem}/__init__.py" if is_package else f"{stem}.py"
        if name not in self.here.members:
            return None
        spec = ModuleSpec(fullname, self, origin=f"{self.archive}/{name}", is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [f"{self.archive}/{stem}"]
        return spec

    def get_filename(self, fullname: str) -> str:
        spec = self.find_spec(fullname)
        if spec is None or spec.origin is None:
            raise zipimport.ZipImportError(f"can't find module {fullname!r}", name=fullname)
        return spec.origin

    def is_package(self, fullname: str) -> bool:
        return self.get_filename(fullname).endswith("/__init__.py")

    def get_data(self, pathname: str) -> bytes:
        name = pathname[len(self.archive) + 1 :] if pathname.startswith(self.archive + "/") else pathname
        if not self.here.members.get(name):
            raise FileNotFoundError(2, "no such file in the archive", name)
        return self.here.read(name)

    def get_source(self, fullname: str) -> str:
        return self.get_data(self.get_filename(fullname)).decode()

    def get_code(self, fullname: str) -> CodeType:
        try:
            kept = self.here.cached(self.here.code, fullname)
            if int.from_bytes(kept[:4], "little") == len(kept):  # else a crash tore it
                code: CodeType = marshal.loads(memoryview(kept)[4:])
                return code
        except (OSError, ValueError, EOFError, TypeError):
            pass
        filename = self.get_filename(fullname)
        code = compile(self.get_data(filename), filename, "exec", dont_inherit=True)
        data = marshal.dumps(code)
        try:
            self.here.keep(self.here.code, fullname, (len(data) + 4).to_bytes(4, "little") + data)
        except OSError:
            pass
        return code

    def invalidate_caches(self) -> None:
        """Keep to the table of contents of the start: the file of that name may be a newer one by now."""


class NativeFinder:
    """Finds the native modules that ship for this interpreter, and says why where there are none."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        here = Zip.running
        if fullname not in NATIVE or here is None:
            return None
        reason = _unsupported()
        if reason:
            raise ImportError(f"{fullname} cannot be loaded: {reason}", name=fullname)
        folder, python = f"_native/manylinux_{os.uname().machine}", f"cp3{sys.version_info[1]}"
        for tag in (python, "abi3"):
            member = f"{folder}/{tag}/{fullname}.so"
            if member in here.members:
                spec = ModuleSpec(fullname, NativeLoader(fullname, here, member))
                spec.has_location = True
                return spec
        raise ImportError(f"{fullname} does not ship for {os.uname().machine} and {python}", name=fullname)


class NativeLoader(ExtensionFileLoader):
    """Loads a native module from the cache, or from memory where files cannot be kept or may not be executed."""

    def __init__(self, fullname: str, here: Archive, member: str) -> None:
        super().__init__(fullname, f"{here.path}/{member}")
        self.here = here
        self.member = member

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        try:
            spec.origin = self._on_disk()
            return super().create_module(spec)
        except (OSError, ImportError):
            spec.origin = self._in_memory()
            return super().create_module(spec)

    def _on_disk(self) -> str:
        size = self.here.members[self.member][3]
        name = self.member.removeprefix("_native/").replace("/", "-")
        path = f"{self.here.cache}/native/{name}"
        try:
            if os.lstat(path).st_size == size:
                return path
        except OSError:
            pass
        return self.here.keep("native", name, self.here.read(self.member))

    def _in_memory(self) -> str:
        descriptor = os.memfd_create(self.name)
        # Never closed: the dynamic linker would take the next one under the same number for this library.
        with open(descriptor, "wb", 0, closefd=False) as file:
            view = memoryview(self.here.read(self.member))
            while view:
                view = view[file.write(view) :]
        return f"/proc/self/fd/{descriptor}"


def _unsupported() -> str | None:
    """Why no native module can be loaded here: they are built for glibc and for CPython as distributions ship it."""
    if sys.implementation.name != "cpython" or "t" in sys.abiflags:
        return "it needs CPython with its global lock"
    if sys.maxsize < 2**32:
        return "this is a 32-bit Python"
    try:
        if os.confstr("CS_GNU_LIBC_VERSION"):
            return None
    except (OSError, ValueError):
        pass
    return "it needs glibc, and this system has another C library"


def find_cache(build: str) -> str | None:
    """The first directory that can hold the cache of `build` and that no other user can touch; made if absent."""
    for base in _places():
        directory = f"{base}/{build}"
        found = _private(base) and _private(directory)
        if found:
            if time.time() - found.st_mtime > DAY:
                _prune(base, directory)
            return directory
    return None


def _places() -> list[str]:
    """Root's cache is never below HOME, which sudo may have left another user's."""
    uid = os.geteuid()
    places = [os.environ.get("FLEDX_CACHE_DIR", "")]
    if uid == 0:
        places.append("/var/cache/fledx")
    else:
        homes = (("XDG_CACHE_HOME", "/fledx"), ("HOME", "/.cache/fledx"), ("XDG_RUNTIME_DIR", "/fledx"))
        places += [os.environ[name] + rest for name, rest in homes if os.environ.get(name)]
    places += [f"{parent}/fledx-{uid}" for parent in ("/var/tmp", "/tmp", "/dev/shm")]
    return [place for place in places if place.startswith("/")]


def _private(directory: str) -> os.stat_result | None:
    """What `lstat` says of a real directory that only this user can enter, made here if absent; None for all else."""
    try:
        try:
            found = os.lstat(directory)
        except FileNotFoundError:
            _make(directory)
            found = os.lstat(directory)
    except OSError:
        return None
    return found if found.st_mode & 0o170077 == 0o040000 and found.st_uid == os.geteuid() else None


def _make(directory: str) -> None:
    """Make it for this user alone, with one parent at most: a HOME that does not exist is not ours to make."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.mkdir(os.path.dirname(directory), 0o700)
        os.mkdir(directory, 0o700)


def _prune(base: str, used: str) -> None:
    """
    Once a day of use: date the cache in use, and remove those of builds that nobody has started for long.

    A process that still runs one of these loses nothing: it compiles and keeps anew.
    """
    import shutil

    try:
        os.utime(used)
        old = time.time() - KEEP_SECONDS
        for entry in os.scandir(base):
            if len(entry.name) == 16 and entry.is_dir(follow_symlinks=False) and entry.stat().st_mtime < old:
                shutil.rmtree(entry.path, ignore_errors=True)
    except OSError:
        pass
