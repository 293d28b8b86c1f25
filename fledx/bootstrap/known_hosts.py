"""The keys by which hosts are known, in OpenSSH's own files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fledx.errors import Denied


@dataclass(frozen=True, kw_only=True)
class HostKey:
    """A public key: its type (`ssh-ed25519`) and its base64 text."""

    kind: str
    text: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, kw_only=True)
class KnownHosts:
    """What the files say of one host: its keys, and those that are revoked; ``path`` is where a new one is written."""

    name: str
    path: str
    keys: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]


def listed_name(host: str, port: int) -> str:
    """How a host is called in these files."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def known_hosts(paths: Iterable[str], name: str) -> KnownHosts:
    """What all these files (those that exist) say of the host; the first path is where a new key goes."""
    files = list(paths)
    keys: list[HostKey] = []
    revoked: list[HostKey] = []
    for marker, key in _entries(files, name):
        if marker == "":
            keys.append(key)
        elif marker == "@revoked":
            revoked.append(key)
    return KnownHosts(name=name, path=files[0], keys=tuple(keys), revoked=tuple(revoked))


def _entries(paths: Iterable[str], name: str) -> Iterator[tuple[str, HostKey]]:
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.split()
            marker = words.pop(0) if words and words[0].startswith("@") else ""
            if len(words) >= 3 and not words[0].startswith("#") and _means(words[0], name):
                yield marker, HostKey(kind=words[1], text=words[2])


def _means(patterns: str, name: str) -> bool:
    """Whether a line's comma-separated patterns mean the host; a negated one that matches wins."""
    found = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            found = found or _hashed_alike(pattern, name)
        elif pattern.startswith("!"):
            if fnmatch.fnmatchcase(name, _glob(pattern[1:])):
                return False
        else:
            found = found or fnmatch.fnmatchcase(name, _glob(pattern))
    return found


def _glob(pattern: str) -> str:
    """In these files only * and ? are special; brackets surround a host whose port is not 22."""
    return pattern.lower().replace("[", "[[]")


def _hashed_alike(pattern: str, name: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|")
        made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(made, base64.b64decode(digest))
    except ValueError:
        return False


def judged(key: HostKey, known: KnownHosts, policy: str) -> str | None:
    """
    Whether the host may be trusted: None when its key is known, else a line for the operator on why it is believed.

    Raises Denied when it is not: a key that differs from a known one is refused under every policy, as is one of
    another kind than those known, since whoever stands in between would offer just that.
    """
    where = f"{known.name} shows the key {key.kind} {key.fingerprint}"
    if key in known.revoked:
        raise Denied(f"{where}, which is revoked", hint="do not connect; ask who runs that host")
    if key in known.keys:
        return None
    if known.keys:
        raise Denied(
            f"the key of {known.name} has changed: it shows {key.kind} {key.fingerprint}, and known is "
            + ", ".join(f"{each.kind} {each.fingerprint}" for each in known.keys),
            hint=f"someone may be in between. If you know that it was set up anew: ssh-keygen -R '{known.name}'",
        )
    if policy == "strict":
        raise Denied(
            f"{where}, and it is not known yet",
            hint="compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there, then connect once with ssh",
        )
    verb = "accepted for this run only" if policy == "off" else f"accepted and written to {known.path}"
    return f"{where}: {verb}"


def remember(key: HostKey, known: KnownHosts, *, hashed: bool) -> None:
    """Append the key to the operator's file, in one write, as other runs may append at the same time."""
    name = known.name
    if hashed:
        salt = os.urandom(20)
        digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    os.makedirs(os.path.dirname(known.path) or ".", mode=0o700, exist_ok=True)
    descriptor = os.open(known.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        end = os.fstat(descriptor).st_size
        with open(known.path, "rb") as file:
            file.seek(max(end - 1, 0))
            start = b"" if file.read(1) in (b"", b"\n") else b"\n"
        os.write(descriptor, start + f"{name} {key.kind} {key.text}\n".encode())
    finally:
        os.close(descriptor)
