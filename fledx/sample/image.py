"""
The sample image in a Docker engine: made when absent or outdated, in about half a second.

This module speaks to the engine with the standard library, because the docker package belongs to the agent's runtime.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import urllib.parse
from typing import Any

from fledx.errors import Unavailable
from fledx.sample.rootfs import Files, Interpreter, digest_of, gather, write_tar

NAME = "fledx-sample:1"
PORT = 8080
"""Where the app listens unless its environment says otherwise."""

INPUTS_LABEL = "fledx-sample.inputs"
"""Label of an image: digest of all it was made from, so that an unchanged one is not made again."""

SECONDS = 180.0
"""Longest silence of the engine that is waited out."""


def ensure_image(name: str = NAME, *, docker_host: str | None = None) -> str:
    """
    See to it that the engine has the sample image under ``name`` (REPOSITORY:TAG) and return the image's id.

    The tag is the version that the app shows. An image made from the same inputs is left alone, one made from others is
    replaced.
    """
    repository, _, tag = name.rpartition(":")
    if not repository or "/" in tag:
        repository, tag = name, "latest"
    files = gather(Interpreter.running())
    return Engine.at(docker_host).have(files, repository=repository, tag=tag, changes=_changes(tag))


def remove_image(name: str) -> None:
    """Take the image away; one that is absent or still in use is left as it is."""
    Engine.at(None).remove(name)


def _changes(version: str) -> list[str]:
    """The image's configuration, as the lines of a Dockerfile."""
    return [
        'ENTRYPOINT ["/usr/bin/python3", "-I", "-S", "/app/app.py"]',
        "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8",
        f"ENV VERSION={version}",
        f"EXPOSE {PORT}",
    ]


class Engine:
    """The Docker engine at one address, for the few things done with images and containers here."""

    def __init__(self, address: str) -> None:
        self.address = address

    @classmethod
    def at(cls, docker_host: str | None) -> Engine:
        """The engine at an address (``unix://``, ``tcp://``), else the one DOCKER_HOST names, else this machine's."""
        return cls(docker_host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")

    def inspect(self, name: str) -> dict[str, Any] | None:
        """Docker's description of an image, None if there is none."""
        status, body = self._ask("GET", f"/images/{urllib.parse.quote(name)}/json")
        if status == 404:
            return None
        if status != 200:
            raise Unavailable(f"Docker at {self.address} cannot show image {name}: {_message(body)}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def remove(self, name: str) -> None:
        """Remove an image; refused ones (absent, in use) stay."""
        self._ask("DELETE", f"/images/{urllib.parse.quote(name)}")

    def containers(self, *labels: str) -> list[dict[str, Any]]:
        """Docker's descriptions of all containers, running or not, that carry every label (KEY or KEY=VALUE)."""
        filters = urllib.parse.quote(json.dumps({"label": list(labels)}))
        status, body = self._ask("GET", f"/containers/json?all=true&filters={filters}")
        if status != 200:
            raise Unavailable(f"Docker at {self.address} cannot list containers: {_message(body)}")
        found = [self._ask("GET", f"/containers/{each['Id']}/json") for each in json.loads(body)]
        return [json.loads(described) for status, described in found if status == 200]

    def remove_container(self, identifier: str) -> None:
        """Kill and remove a container; one that is absent stays so."""
        self._ask("DELETE", f"/containers/{urllib.parse.quote(identifier)}?force=true")

    def have(self, files: Files, *, repository: str, tag: str, changes: list[str]) -> str:
        """An image of these files, made unless there is one of the very same, in the place of another; its id."""
        digest = digest_of(files)
        there = self.inspect(f"{repository}:{tag}")
        if there is not None and ((there["Config"] or {}).get("Labels") or {}).get(INPUTS_LABEL) == digest:
            return str(there["Id"])
        labelled = [*changes, f"LABEL {INPUTS_LABEL}={digest}"]
        made = self.import_tar(files, repository=repository, tag=tag, changes=labelled)
        if there is not None and there["Id"] != made:
            self.remove(there["Id"])
        return made

    def import_tar(self, files: Files, *, repository: str, tag: str, changes: list[str]) -> str:
        """Make an image of these files while they are read, and return its id."""
        query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", line) for line in changes)]
        status, body = self._ask("POST", f"/images/create?{urllib.parse.urlencode(query)}", files)
        last = json.loads(body.splitlines()[-1]) if body.strip() else {}
        made = str(last.get("status", ""))
        if status != 200 or not made.startswith("sha256:"):
            raise Unavailable(f"Docker at {self.address} did not import {repository}:{tag}: {_message(body)}")
        return made

    def _ask(self, method: str, path: str, files: Files | None = None) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.putrequest(method, path)
            if files is None:
                connection.endheaders()
            else:
                connection.putheader("Content-Type", "application/x-tar")
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders()
                _send_archive(connection, files)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            hint = "is the engine running, and may this user reach it (group docker)?"
            raise Unavailable(f"Docker at {self.address} does not answer: {problem}", hint=hint) from problem
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        scheme, _, rest = self.address.partition("://")
        if scheme == "unix":
            return _UnixConnection(rest)
        if scheme == "tcp" and not os.environ.get("DOCKER_TLS_VERIFY"):
            return http.client.HTTPConnection(rest.rstrip("/"), timeout=SECONDS)
        raise Unavailable(
            f"cannot reach Docker at {self.address}", hint="set DOCKER_HOST to unix://PATH or tcp://HOST:PORT"
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Chunks(io.RawIOBase):
    """Frames what is written as chunks of an HTTP/1.1 body."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def write(self, data: Any) -> int:
        block = bytes(data)
        if block:
            self._connection.send(b"%x\r\n%b\r\n" % (len(block), block))
        return len(block)


def _send_archive(connection: http.client.HTTPConnection, files: Files) -> None:
    """Send the archive; if the engine hangs up in the middle, its answer says why and is read by the caller."""
    try:
        write_tar(_Chunks(connection), files)  # type: ignore[arg-type]
        connection.send(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass


def _message(body: bytes) -> str:
    """What the engine complains of, in the last line of its answer."""
    try:
        last = json.loads(body.splitlines()[-1])
        return str(last.get("message") or last.get("error") or last)
    except (ValueError, IndexError, AttributeError):
        return body.decode("utf-8", "replace").strip() or "no answer"
