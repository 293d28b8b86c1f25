"""Certificates that gateways present: what is told of one, and which of several is presented for a host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SOON_SECONDS = 30 * 86400.0
"""So long before its end a certificate is spoken of."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """
    What is told of a certificate, which is never its key; times are RFC 3339 in UTC.

    ``hosts`` are those it is made for, ``shown_for`` those for which gateways present it: of several certificates for a
    host that is the one that was issued last. ``fingerprint`` is the SHA-256 over it. ``warning`` says what needs
    somebody's attention. ``readable`` is false when its key was sealed with one that this control plane does not have.
    """

    name: str
    version: int
    hosts: tuple[str, ...]
    shown_for: tuple[str, ...] = ()
    issuer: str
    fingerprint: str
    not_before: str
    not_after: str
    created_at: str
    updated_at: str
    used_by: tuple[str, ...] = ()
    warning: str | None = None
    readable: bool = True


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A certificate as far as the choice needs it; Unix seconds."""

    name: str
    hosts: tuple[str, ...]
    not_before: float
    not_after: float


def chosen(candidates: Iterable[Candidate], now: float) -> dict[str, tuple[str, ...]]:
    """
    By name, the hosts that each is presented for.

    A host belongs to one that is valid now before one that is not, then to the one that was issued last, then to the
    first by name.
    """
    best: dict[str, Candidate] = {}
    found = sorted(candidates, key=lambda each: each.name)
    for each in sorted(found, key=lambda one: (one.not_before <= now < one.not_after, one.not_before), reverse=True):
        for host in each.hosts:
            best.setdefault(host, each)
    return {each.name: tuple(host for host in dict.fromkeys(each.hosts) if best[host] is each) for each in found}


def covers(host: str, asked: str) -> bool:
    """Whether a host of a certificate, perhaps with `*.`, is good for a host of a rule: a star stands for one label."""
    if host == asked:
        return True
    return host.startswith("*.") and not asked.startswith("*.") and asked.partition(".")[2] == host[2:]
