"""A real registry on this machine, behind a password, with tiny images: two megabytes around `sleep`."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import subprocess
import tarfile
import tempfile
import uuid
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed import images
from tests.bed.commands import CommandFailed, run
from tests.bed.registry import PASSWORD, PORT, USER
from tests.waiting import eventually

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Answer:
    """What the registry said."""

    headers: dict[str, str]
    body: bytes


class Shelf:
    """The registry; `port` of 127.0.0.1 is where it listens. Usable as a context manager."""

    def __init__(self) -> None:
        image = images.ensure("registry")
        self._container = f"fledx-shelf-{uuid.uuid4().hex[:8]}"
        self._logins = tempfile.TemporaryDirectory()
        run("docker", "run", "-d", "--name", self._container, "-p", f"127.0.0.1::{PORT}", image, self._settings())
        published = run("docker", "port", self._container, f"{PORT}/tcp").splitlines()[0]
        self.port = int(published.rpartition(":")[2])
        self._docker = ["docker", "--config", self._logins.name]
        login = ["login", "-u", USER, "--password-stdin", self._address]
        eventually(lambda: run(*self._docker, *login, stdin=PASSWORD))

    @staticmethod
    def _settings() -> str:
        return "/etc/docker/registry/private.yml"

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        run("docker", "rm", "-fv", self._container, check=False)
        self._logins.cleanup()

    def put(self, tag: str, *, note: str, filling: int = 0) -> str:
        """An image under a tag, different for each note, with so many bytes that do not compress; its digest."""
        full = f"{self._address}/{tag}"
        words = ["docker", "import", "--change", 'ENTRYPOINT ["/bin/sleep","1000000"]', "-", full]
        done = subprocess.run(words, input=_root(note, filling), capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(done.stderr.decode())
        run(*self._docker, "push", "-q", full)
        run("docker", "rmi", full)
        return str(self._ask("HEAD", tag).headers["Docker-Content-Digest"])

    def put_foreign(self, tag: str, *, like: str, arch: str) -> None:
        """The same image as another, said to be for another architecture."""
        repository, _, name = tag.partition(":")
        manifest = json.loads(self._ask("GET", like).body)
        config = json.loads(self._send("GET", f"/v2/{repository}/blobs/{manifest['config']['digest']}").body)
        body = json.dumps({**config, "architecture": arch}).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        place = str(self._send("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"])
        place = place.partition(self._address)[2] or place
        self._send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", body, "application/octet-stream")
        manifest["config"] |= {"digest": digest, "size": len(body)}
        self._send("PUT", f"/v2/{repository}/manifests/{name}", json.dumps(manifest).encode(), MANIFEST)

    def _ask(self, method: str, tag: str) -> Answer:
        repository, _, name = tag.partition(":")
        return self._send(method, f"/v2/{repository}/manifests/{name}")

    def _send(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Answer:
        headers: dict[str, Any] = {"Accept": MANIFEST, "Host": self._address}
        headers["Authorization"] = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        if body is not None:
            headers["Content-Type"] = kind
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as asked:
            asked.request(method, path, body=body, headers=headers)
            answer = asked.getresponse()
            found = Answer(dict(answer.headers.items()), answer.read())
        if answer.status >= 300:
            raise CommandFailed(f"{method} {path}: {answer.status} {found.body[:300]!r}")
        return found


def _root(note: str, filling: int) -> bytes:
    """`sleep` and the libraries it needs, as a tar file."""
    found = io.BytesIO()
    libraries = [line.split("=>")[-1].split()[0] for line in run("ldd", "/bin/sleep").splitlines() if "/" in line]
    with tarfile.open(fileobj=found, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in ("/bin/sleep", *libraries):
            real = Path(path).resolve()
            about = archive.gettarinfo(real, arcname=path.lstrip("/"))
            with real.open("rb") as content:
                archive.addfile(about, content)
        for name, data in (("note", note.encode()), ("filling", os.urandom(filling))):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return found.getvalue()
