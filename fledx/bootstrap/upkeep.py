"""What comes after installing: telling what is there, replacing the version, and taking it away."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from fledx import _boot
from fledx.bootstrap.control_plane import api_of, read_access, url_of
from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.layout import ARCHIVE, ROLES, WORDS, Role
from fledx.bootstrap.local import THIS_MACHINE
from fledx.bootstrap.package import Package
from fledx.bootstrap.plan import Plan, plan
from fledx.bootstrap.removal import ROOT_CACHE, plan_removal
from fledx.bootstrap.verify import api_answers, node_is_ready
from fledx.bootstrap.visit import Visit, described
from fledx.bootstrap.wanted import Wanted
from fledx.client.api import ControlPlane
from fledx.errors import Conflict, NotFound


def describe(visit: Visit, roles: Sequence[Role]) -> dict[str, Any]:
    """What of these roles is on the host, and how it fares; changes nothing."""
    facts = visit.look()
    current, before = (_version_of(facts.links.get(path)) for path in (facts.layout.command, facts.layout.previous))
    return {
        "system": described(facts),
        "version": current,
        "previous": before,
        "roles": {role: _role(facts, role) for role in roles if facts.installed(role)},
        "kept": [facts.layout.role_data(role) for role in roles if _is_kept(facts, role)],
    }


def _is_kept(facts: HostFacts, role: Role) -> bool:
    return not facts.installed(role) and facts.layout.role_data(role) in facts.directories


def _role(facts: HostFacts, role: Role) -> dict[str, Any]:
    unit = facts.unit(role)
    told: dict[str, Any] = {
        "state": f"{unit.active} ({unit.sub})",
        "since": unit.since,
        "at_boot": unit.enabled,
        "settings": facts.layout.env_file(role),
        "data": facts.layout.role_data(role),
    }
    if role == "agent" and facts.identity is not None:
        told["node_id"] = facts.identity.node_id
        told["control_plane"] = f"{facts.identity.host}:{facts.identity.port}"
    return told


def _version_of(target: str | None) -> str | None:
    """`0.1.0 (build 0123456789abcdef)` from the name of an archive."""
    match = ARCHIVE.fullmatch(target.rpartition("/")[2]) if target else None
    return f"{match['version']} (build {match['build']})" if match else None


def installed_roles(facts: HostFacts, asked: Sequence[Role]) -> tuple[Role, ...]:
    """Those of the roles asked for that are on the host; NotFound when there is none."""
    found = tuple(role for role in asked if facts.installed(role))
    if not found:
        words = " or ".join(WORDS[role] for role in asked)
        raise NotFound(f"no {words} is installed on it", hint="fledx bootstrap cp and agent install them")
    return found


def upgrade(visit: Visit, package: Package | None, api: ControlPlane | None) -> dict[str, Any]:
    """
    Have all roles on the host run this package; None goes back to the one before.

    A version that does not start is taken back by itself.
    """
    facts = visit.look()
    visit.progress.say("looked", described(facts))
    roles = installed_roles(facts, ROLES)
    chosen = _previous(facts) if package is None else package

    def decide(found: HostFacts) -> Plan:
        return plan(found, Wanted(package=chosen, now=time.time(), roles={}))

    after = visit.carry_out(facts, decide)
    if visit.mode.wait and not visit.mode.dry_run:
        _verify(visit, after, roles, chosen, api)
    return {"roles": list(roles), "version": chosen.version, "build": chosen.build}


def _previous(facts: HostFacts) -> Package:
    """The package that the way back leads to; it lies on the host already."""
    target = facts.links.get(facts.layout.previous)
    match = ARCHIVE.fullmatch(target) if target else None
    there = facts.archives.get(f"{facts.layout.bin_dir}/{target}")
    if match is None or there is None:
        raise Conflict(
            "there is no earlier version on it to go back to", hint="name a file of that version with --version"
        )
    return Package(version=match["version"], build=match["build"], digest=there.digest, machines=(), data=b"")


def _verify(visit: Visit, facts: HostFacts, roles: Sequence[Role], package: Package, api: ControlPlane | None) -> None:
    limit = visit.mode.wait_secs
    if "cp" in roles:
        settings = facts.settings("cp")
        url = url_of(settings.get("FLEDX_CP_TUNNEL_ADVERTISED_HOST", ""), settings.get("FLEDX_CP_SERVER_PORT", ""))
        visit.progress.say("waiting", f"for the API at {url}")
        access = read_access(visit.host, facts, url)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(access.authority)
            file.flush()
            api_answers(api_of(access, file.name), limit, visit.progress)
    if "agent" in roles and api is not None and facts.identity is not None and facts.identity.node_id is not None:
        visit.progress.say("waiting", "for the control plane to call it ready")
        node_is_ready(api, facts.identity.node_id, package.version, limit, visit.progress)


def uninstall(visit: Visit, asked: Sequence[Role], *, purge: bool) -> dict[str, Any]:
    """Take the roles off the host; without `purge` settings and data stay."""
    facts = visit.look()
    visit.progress.say("looked", described(facts))

    def decide(found: HostFacts) -> Plan:
        return plan_removal(found, asked, purge=purge)

    node_id = facts.identity.node_id if facts.identity else None
    after = visit.carry_out(facts, decide)
    if not visit.mode.dry_run and visit.host.name == THIS_MACHINE and not any(map(after.installed, ROLES)):
        atexit.register(_forget_own_cache)
    kept = [facts.layout.config_dir, facts.layout.data_dir] if not purge else []
    return {"purged": purge, "kept": kept, **({"node_id": node_id} if "agent" in asked and node_id else {})}


def _forget_own_cache() -> None:
    """What this very process has compiled since root's cache was removed; it runs from a file that is gone by now."""
    if (_boot.cache() or "").startswith(f"{ROOT_CACHE}/"):
        shutil.rmtree(ROOT_CACHE, ignore_errors=True)
