"""What a pull tells on its way, and why one fails; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fledx.agent.runtime.containers import PullFailed
from fledx.models.image import registry_of

KINDS: tuple[tuple[str, str], ...] = (
    ("rate_limited", r"toomanyrequests|too many requests|rate limit|\b429\b"),
    ("platform", r"no matching manifest|does not match the specified platform|no match for platform"),
    ("no_space", r"no space left|disk quota exceeded"),
    (
        "denied",
        r"unauthorized|authentication required|\bdenied\b|forbidden|incorrect username|no basic auth"
        r"|\b401\b|\b403\b",
    ),
    ("not_found", r"not found|manifest unknown|does not exist|no such image|no such manifest|name unknown|\b404\b"),
    (
        "cut",
        r"unexpected eof|connection reset|broken pipe|: eof$|^eof$|short read|server sent goaway|use of closed network",
    ),
    (
        "unreachable",
        r"no such host|connection refused|i/o timeout|timeout|deadline|network is unreachable|no route to host"
        r"|server misbehaving|temporary failure|tls|x509|proxyconnect|server gave http|\b50[0-9]\b",
    ),
)
SENTENCES = {
    "rate_limited": "the registry refuses more pulls for now (rate limit)",
    "platform": "it exists, but not for this node's architecture",
    "no_space": "no space is left on this node",
    "denied": "the registry denies access, or the image does not exist there",
    "not_found": "the registry has no such image or tag",
    "unreachable": "the registry cannot be reached",
    "cut": "the connection to the registry broke off",
    "other": "the pull failed",
}
HINTS = {
    "rate_limited": "it is tried again later; a login raises the limit: `fledx registries login {registry}`",
    "denied": "check the name; `fledx registries login {registry}` keeps the login for all nodes",
    "not_found": "check the image's name and tag; `fledx deployments update` sets another",
    "platform": "push it for this architecture too, or keep it away from here with --require-arch",
    "no_space": "free some on the node's disk; it is tried again",
    "unreachable": "it is tried again; is the registry up, and can the node reach {registry}?",
    "cut": "it is tried again",
}
RETRY_AFTER = re.compile(r"retry.after\W{1,4}(\d+(?:\.\d+)?) ?(ns|us|µs|μs|ms|s|m|h)?(?![a-z])", re.IGNORECASE)
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_RETRY_AFTER = 6 * 3600.0
FAMILIES = {"amd64": ("amd64", "386"), "arm64": ("arm64", "arm")}
"""What an engine of an architecture runs besides its own."""


def pull_failure(image: str, text: str, *, user: str | None = None) -> PullFailed:
    """The error for what Docker said; its own words are kept, cut to a line. `user` is whose login was used."""
    words = " ".join(text.split())[:400]
    kind = next((kind for kind, pattern in KINDS if re.search(pattern, words, re.IGNORECASE)), "other")
    sentence = SENTENCES[kind]
    if kind == "denied" and user is not None:
        sentence = f"the registry denies access to {user}, or the image does not exist there"
    hint = HINTS.get(kind, "").format(registry=registry_of(image)) or None
    return PullFailed(kind, f"image {image}: {sentence}: {words}", hint=hint, retry_after=_retry_after(words))


def _retry_after(text: str) -> float | None:
    """Seconds, where a registry puts them into its refusal; Docker does not pass on the header."""
    found = RETRY_AFTER.search(text)
    if found is None:
        return None
    return min(LONGEST_RETRY_AFTER, float(found[1]) * UNITS[(found[2] or "s").lower()])


def wrong_platform(image: str, platforms: Sequence[str], own: str) -> PullFailed | None:
    """
    Whether an image that exists for these (`linux/arm64`) cannot run on an engine that is `own`.

    A registry that does not say is believed, and so is one entry `unknown`, which is a signature.
    """
    known = [each for each in platforms if each.strip("/") and "unknown" not in each]
    system, _, arch = own.partition("/")
    fits = {f"{system}/{each}" for each in FAMILIES.get(arch, (arch,))}
    if not known or fits & set(known):
        return None
    text = f"image {image}: it exists for {', '.join(sorted(set(known)))}, and this node is {own}"
    return PullFailed("platform", text, hint=HINTS["platform"])


class Progress:
    """
    Adds up what Docker tells of each layer.

    It names all layers at once, but the size of one only when that begins to arrive: three at a time.
    """

    def __init__(self, image: str) -> None:
        self._image = image
        self._layers: dict[str, tuple[int, int] | None] = {}
        self._done: set[str] = set()
        self._unpacking = False

    def note(self, told: Mapping[str, Any]) -> None:
        """Take in one line of `POST /images/create`."""
        layer, status = str(told.get("id", "")), str(told.get("status", ""))
        detail = told.get("progressDetail") or {}
        if status in ("Pulling fs layer", "Waiting"):
            self._layers.setdefault(layer, None)
        elif status == "Already exists":
            self._layers.pop(layer, None)
        elif status == "Downloading" and detail.get("total"):
            self._layers[layer] = _of_whole(
                self._layers.get(layer), int(detail.get("current", 0)), int(detail["total"])
            )
        elif status in ("Download complete", "Pull complete") and (known := self._layers.get(layer)):
            self._layers[layer] = (known[1], known[1])
        if status == "Pull complete":
            self._done.add(layer)
        self._unpacking = status in ("Extracting", "Pull complete")

    @property
    def missing(self) -> int:
        """Bytes that are still to come, as far as Docker has said."""
        return sum(known[1] - known[0] for known in self._layers.values() if known)

    def __str__(self) -> str:
        sizes = [known for known in self._layers.values() if known]
        got, total = sum(got for got, _ in sizes), sum(total for _, total in sizes)
        if not total:
            return f"pulling {self._image}"
        layers = f"{len(self._done)} of {len(self._layers)} layers"
        if len(sizes) < len(self._layers):
            return f"pulling {self._image}: {got / 1e6:.0f} MB so far, {layers}"
        if self._unpacking and got == total:
            return f"unpacking {self._image}: {total / 1e6:.0f} MB, {layers}"
        return f"pulling {self._image}: {got * 100 // total} % of {total / 1e6:.0f} MB, {layers}"


def _of_whole(known: tuple[int, int] | None, got: int, total: int) -> tuple[int, int]:
    """A layer that goes on where its connection broke off is counted from there by Docker: here from its beginning."""
    whole = max(total, known[1] if known else 0)
    return whole - total + got, whole
