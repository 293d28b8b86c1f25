"""What operators wish for in these tests."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from fledx.bootstrap.act import Progress
from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.layout import Layout, Role
from fledx.bootstrap.news import News
from fledx.bootstrap.package import Package
from fledx.bootstrap.plan import Plan, plan
from fledx.bootstrap.visit import Decide, Mode, Places, Visit
from fledx.bootstrap.wanted import RoleWish, Wanted, agent_wish, control_plane_wish
from tests.fakes.host import FakeHost

JOIN = "fledx-join.c2VjcmV0"


def package(version: str = "0.1.0", build: str = "00000000000000aa") -> Package:
    data = f"fledx {version} {build}".encode()
    return Package(
        version=version, build=build, digest=hashlib.sha256(data).hexdigest(), machines=("x86_64",), data=data
    )


def both_roles() -> dict[Role, RoleWish]:
    place = Layout()
    return {"cp": control_plane_wish(place, host="cp.example.com"), "agent": agent_wish(place, usual_name="edge-1")}


def one_role(role: Role) -> dict[Role, RoleWish]:
    return {role: both_roles()[role]}


def wanted(roles: Mapping[Role, RoleWish] | None = None, **changes: object) -> Wanted:
    usual: dict[str, object] = {"package": package(), "now": time.time(), "join": JOIN}
    return Wanted(**{**usual, "roles": both_roles() if roles is None else roles, **changes})  # type: ignore[arg-type]


def decide(wish: Wanted) -> Decide:
    def decided(facts: HostFacts) -> Plan:
        return plan(facts, wish)

    return decided


def visit(host: FakeHost, *, dry_run: bool = False) -> Visit:
    told = list[News]()
    return Visit(host=host, places=Places(), mode=Mode(dry_run=dry_run), progress=Progress(host.name, told.append))


def install(host: FakeHost, wish: Wanted) -> Visit:
    """Carry it out; what came of it is in the visit's progress."""
    here = visit(host)
    here.carry_out(here.look(), decide(wish))
    return here


def lines(found: Plan) -> list[str]:
    return [step.line for step in found.steps]
