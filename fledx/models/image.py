"""An image's name, taken apart as Docker does it."""

from __future__ import annotations

import re

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HUB = "docker.io"
_HUBS = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com")


def registry_of(image: str) -> str:
    """
    The host that an image comes from, with its port: `registry.example.com:5000` of
    `registry.example.com:5000/team/shop:1`, and `docker.io` where none is named.

    A first part without a dot or colon is a name on Docker Hub, but for `localhost`.
    """
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return settled_registry(first)
    return HUB


def settled_registry(host: str) -> str:
    """The one name of a registry, in lower case; the many of Docker Hub are `docker.io`."""
    word = host.strip().lower()
    return HUB if word in _HUBS else word


def repository_of(image: str) -> str:
    """The name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def familiar(repository: str) -> str:
    """As Docker itself shows a repository: without what it stands for on Docker Hub (`nginx`, `team/shop`)."""
    registry, slash, rest = repository.partition("/")
    if not slash or settled_registry(registry) != HUB:
        return repository
    return rest.removeprefix("library/")


def digest_in(image: str) -> str | None:
    """The digest by which an image is named, if it is."""
    digest = image.partition("@")[2]
    return digest if DIGEST.fullmatch(digest) else None


def by_digest(image: str, digest: str) -> str:
    """The same image, named by its content: `shop:1` as `shop@sha256:...`."""
    return f"{repository_of(image)}@{digest}"


def short(digest: str) -> str:
    """As much of a digest as a person compares: `sha256:0123456789ab`."""
    return digest[:19]
