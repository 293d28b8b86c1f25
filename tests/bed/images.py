"""
The images of the hosts bed, made from Debian packages only: ``host``, ``fresh`` and ``registry`` of one Debian suite.

Built once a machine (about a minute) and again when a file they are made from changes: the tag holds a digest of those.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.bed.commands import CommandFailed, patiently, run
from tests.tools.machine import install_packages

HERE = Path(__file__).resolve().parent
BOOKWORM, TRIXIE = "bookworm", "trixie"
"""Debian 12 (Docker 20.10, systemd 252, Python 3.11) and 13 (Docker 26, systemd 257, Python 3.13)."""

DEBIAN = "http://deb.debian.org/debian/"
CONTEXT = (
    "host/Dockerfile",
    "host/bed-init",
    "host/sshd.conf",
    "host/registry.yml",
    "host/private.yml",
    "host/htpasswd",
    "delay.py",
)
MINUTES = 15 * 60.0


def ensure(target: str, suite: str = BOOKWORM) -> str:
    """The name of the image, built if it is not there."""
    tag = f"fledx-bed:{target}-{suite}-{_digest()}"
    if not _exists(tag):
        base = _base(suite)
        patiently(lambda: _build(tag, target=target, base=base))
        outdated = set(_tags(f"fledx-bed:{target}-{suite}-*")) - {tag}
        if outdated:
            run("docker", "rmi", *outdated, check=False)
    return tag


def _exists(tag: str) -> bool:
    return bool(_tags(tag))


def _tags(pattern: str) -> list[str]:
    return run("docker", "images", "--filter", f"reference={pattern}", "--format", "{{.Repository}}:{{.Tag}}").split()


def _digest() -> str:
    digest = hashlib.sha256()
    for name in CONTEXT:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:10]


def _base(suite: str) -> str:
    """A bare Debian without documentation and translations."""
    tag = f"fledx-bed:base-{suite}"
    if _exists(tag):
        return tag
    have("mmdebstrap")
    slim = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")]
    options = ["--quiet", "--variant=minbase", *slim, "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"']
    options += ['--aptopt=Acquire::Retries "3"']
    mirror = _mirror()
    sources = [
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
        f"deb {mirror}-security {suite}-security main",
    ]

    def make() -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "root.tar")
            run("mmdebstrap", *options, suite, root, *sources, timeout=MINUTES)
            run("docker", "import", root, tag)

    patiently(make)
    return tag


def _mirror() -> str:
    """The Debian mirror that this machine itself uses, if it uses one."""
    lines = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", check=False).splitlines()
    own = {line.split()[2] for line in lines if line.startswith("Debian Debian ")}
    return min(own, default=DEBIAN).rstrip("/")


def have(program: str) -> None:
    """Install a program that is not there, from the Debian package of the same name."""
    if not shutil.which(program):
        install_packages([program], f"there is no {program}", allowed=True, recommended=False)


def _build(tag: str, *, target: str, base: str) -> None:
    """Build one stage of the Dockerfile. The classic builder, because Debian's docker.io comes without buildx."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in CONTEXT:
            archive.add(HERE / name, arcname="Dockerfile" if name == "host/Dockerfile" else name)
    words = ["build", "-q", "-t", tag, "--target", target, "--build-arg", f"BASE={base}", "-"]
    built = subprocess.run(
        ["docker", *words],
        input=context.getvalue(),
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        timeout=MINUTES,
        check=False,
    )
    if built.returncode:
        raise CommandFailed(f"docker build of {tag}: {(built.stderr or built.stdout).decode()[-3000:]}")
