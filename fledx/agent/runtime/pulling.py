"""What a pull tells on its way, and why one fails; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fledx.agent.runtime.base import PullFailed

KINDS: tuple[tuple[str, str], ...] = (
    ("rate_limited", r"toomanyrequests|too many requests|rate limit|429"),
    ("platform", r"no matching manifest|does not match the specified platform|no match for platform"),
    ("no_space", r"no space left|disk quota exceeded"),
    ("denied", r"unauthorized|authentication required|access denied|denied:|incorrect username|no basic auth|401|403"),
    ("not_found", r"not found|manifest unknown|does not exist|no such image|name unknown|404"),
    (
        "unreachable",
        r"no such host|connection refused|i/o timeout|timeout|deadline|network is unreachable|no route to host"
        r"|server misbehaving|temporary failure|connection reset|unexpected eof|eof$|tls|x509|proxyconnect|50[0-9]",
    ),
)
SENTENCES = {
    "rate_limited": "the registry refuses more pulls for now (rate limit)",
    "platform": "it exists, but not for this node's architecture",
    "no_space": "no space is left on this node",
    "denied": "the registry denies access, or the image does not exist there",
    "not_found": "the registry has no such image or tag",
    "unreachable": "the registry cannot be reached",
    "other": "the pull failed",
}
HINTS = {
    "rate_limited": "it is tried again later; logging in to the registry raises the limit",
    "denied": "check the name, and run `docker login` on the node as the user of the agent",
    "not_found": "check the image's name and tag",
}


def pull_failure(image: str, text: str) -> PullFailed:
    """The error for what Docker said; its own words are kept, cut to a line."""
    words = " ".join(text.split())[:400]
    kind = next((kind for kind, pattern in KINDS if re.search(pattern, words, re.IGNORECASE)), "other")
    return PullFailed(kind, f"image {image}: {SENTENCES[kind]}: {words}", hint=HINTS.get(kind))


class Progress:
    """Adds up what Docker tells of each layer."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._layers: dict[str, tuple[int, int]] = {}
        self._extracting = False

    def note(self, told: Mapping[str, Any]) -> None:
        """Take in one line of `POST /images/create`."""
        layer, status = str(told.get("id", "")), str(told.get("status", ""))
        detail = told.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif status in ("Download complete", "Pull complete") and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        self._extracting = status == "Extracting"

    def __str__(self) -> str:
        got = sum(current for current, _ in self._layers.values())
        total = sum(total for _, total in self._layers.values())
        if not total:
            return f"pulling {self._image}"
        doing = "unpacking" if self._extracting and got == total else "pulling"
        return f"{doing} {self._image}: {got / 1e6:.0f} of {total / 1e6:.0f} MB"
