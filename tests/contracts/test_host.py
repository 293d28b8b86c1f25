"""The fake host of the unit tests, and a real one over SSH: the same orders leave the same facts on both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from fledx.bootstrap.act import Progress
from fledx.bootstrap.facts import Entry, HostFacts
from fledx.bootstrap.host import Host
from fledx.bootstrap.layout import Layout, Role
from fledx.bootstrap.plan import plan
from fledx.bootstrap.removal import plan_removal
from fledx.bootstrap.ssh import Questions, open_ssh
from fledx.bootstrap.ssh_config import SshOptions, Target
from fledx.bootstrap.visit import Mode, Places, Visit
from fledx.bootstrap.wanted import Wanted, agent_wish, control_plane_wish
from fledx.errors import FledxError
from tests.bed.hosts import Hosts
from tests.contracts.stand_in import stand_in
from tests.fakes.host import NODE_ID, FakeHost

OLD, NEW = stand_in("0.1.0", "00000000000000aa", NODE_ID), stand_in("0.2.0", "00000000000000bb", NODE_ID)
BROKEN = stand_in("broken", "00000000000000cc", NODE_ID)
REAL = pytest.param("ssh", marks=[pytest.mark.bed, pytest.mark.slow])


@pytest.fixture(params=["fake", REAL])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with nothing of fledx on it."""
    if request.param == "fake":
        yield FakeHost()
        return
    bed: Hosts = request.getfixturevalue("hosts")
    bed.renew("n1")
    monkeypatch.setenv("HOME", str(bed.home))
    opened = open_ssh(Target.parse("n1"), SshOptions(), Questions(tell=lambda text: None))
    yield opened
    opened.close()


def visit(host: Host) -> Visit:
    return Visit(host=host, places=Places(), mode=Mode(), progress=Progress(host.name, lambda news: None))


def wish(*roles: Role, **changes: Any) -> Wanted:
    known = {"cp": control_plane_wish(Layout(), host="cp"), "agent": agent_wish(Layout(), usual_name="edge-1")}
    usual: dict[str, Any] = {"package": OLD, "join": "welcome", "roles": {role: known[role] for role in roles}}
    return Wanted(now=0.0, **{**usual, **changes})


def install(host: Host, wanted: Wanted) -> HostFacts:
    here = visit(host)
    return here.carry_out(here.look(), lambda facts: plan(facts, dataclasses.replace(wanted, now=facts.now)))


def remove(host: Host, *roles: Role, purge: bool) -> HostFacts:
    here = visit(host)
    return here.carry_out(here.look(), lambda facts: plan_removal(facts, roles, purge=purge))


def essence(facts: HostFacts) -> dict[str, Any]:
    """What the fake promises to get right: everything but this host's own hardware, times and process ids."""
    units = {
        name: (unit.active, unit.sub, unit.enabled, unit.stale, unit.setup)
        for name, unit in facts.units.items()
        if unit.runs or unit.enabled or unit.stale
    }
    ours = {path: entry for path, entry in facts.directories.items() if "fledx" in path}
    return {
        "directories": {path: (entry.owner, entry.mode) for path, entry in ours.items()},
        "files": facts.files,
        "archives": facts.archives,
        "links": facts.links,
        "users": {name: set(user.groups) for name, user in facts.users.items()},
        "units": units,
        "join": (facts.has_join, facts.identity.node_id if facts.identity else None),
        "authority": facts.has_authority,
        "placed": facts.placed,
    }


def twin(*changes: Any) -> dict[str, Any]:
    """What the same story leaves on the fake."""
    fake = FakeHost()
    for change in changes:
        change(fake)
    return essence(visit(fake).look())


def test_both_roles_are_installed_and_a_second_run_finds_nothing_to_do(host: Host) -> None:
    facts = install(host, wish("cp", "agent"))
    assert twin(lambda fake: install(fake, wish("cp", "agent"))) == essence(facts)
    assert () == plan(facts, dataclasses.replace(wish("cp", "agent"), now=facts.now)).steps
    assert facts.unit("cp").runs
    assert facts.unit("agent").runs


def test_users_have_no_shell_and_files_are_for_their_owner(host: Host) -> None:
    facts = install(host, wish("cp", "agent"))
    assert {"/usr/sbin/nologin"} == {user.shell for user in facts.users.values()}
    modes = {path: entry.mode for path, entry in {**facts.directories, **facts.files}.items() if "fledx" in path}
    readable = {path for path, mode in modes.items() if int(mode, 8) & 0o004}
    assert {f"/etc/systemd/system/fledx-{role}.service" for role in ("cp", "agent")} == readable


def test_another_version_and_the_way_back(host: Host) -> None:
    install(host, wish("cp"))
    newer = install(host, wish(package=NEW))
    assert "fledx-0.2.0-00000000000000bb.pyz" == newer.links["/usr/local/bin/fledx"]
    back = install(host, wish(package=dataclasses.replace(OLD, data=b"")))

    def story(fake: FakeHost) -> None:
        install(fake, wish("cp"))
        install(fake, wish(package=NEW))
        install(fake, wish(package=dataclasses.replace(OLD, data=b"")))

    assert twin(story) == essence(back)


def test_a_version_that_does_not_start_is_taken_back(host: Host) -> None:
    before = install(host, wish("cp", "agent"))
    if isinstance(host, FakeHost):
        host.fail = len(host.ran) + 5
    with pytest.raises(FledxError, match="what had been done was undone") as told:
        install(host, wish(package=BROKEN))
    if not isinstance(host, FakeHost):
        assert "the stand-in is broken" in told.value.text
    assert essence(before) == essence(visit(host).look())


def test_an_agent_that_is_not_let_in_leaves_nothing_behind(host: Host) -> None:
    before = visit(host).look()
    if isinstance(host, FakeHost):
        host.joins = False
    with pytest.raises(FledxError, match="refused: this registration token is used up"):
        install(host, wish("agent", join="refused"))
    assert essence(before) == essence(visit(host).look())


def test_a_half_made_host_is_put_right(host: Host) -> None:
    install(host, wish("cp"))
    if isinstance(host, FakeHost):
        files = dict(host.facts.files)
        path = "/etc/fledx/fledx-cp.env"
        files[path] = dataclasses.replace(files[path], mode="644")
        links = {path: target for path, target in host.facts.links.items() if path != "/usr/local/bin/fledx-cp"}
        data = {"/var/lib/fledx/cp": Entry(owner="root:root", mode="755")}
        host.change(files=files, links=links, directories={**host.facts.directories, **data})
    else:
        from fledx.bootstrap.host import Script

        spoil = "chmod 644 /etc/fledx/fledx-cp.env\nrm /usr/local/bin/fledx-cp\n"
        host.run(Script(text=spoil + "chown root:root /var/lib/fledx/cp\nchmod 755 /var/lib/fledx/cp\n"))
    assert twin(lambda fake: install(fake, wish("cp"))) == essence(install(host, wish("cp")))


def test_one_role_goes_and_the_other_stays(host: Host) -> None:
    install(host, wish("cp", "agent"))
    facts = remove(host, "agent", purge=True)

    def story(fake: FakeHost) -> None:
        install(fake, wish("cp", "agent"))
        remove(fake, "agent", purge=True)

    assert twin(story) == essence(facts)
    assert facts.unit("cp").runs


@pytest.mark.parametrize("purge", [False, True])
def test_both_go_and_only_without_purge_their_data_stay(host: Host, *, purge: bool) -> None:
    bare = essence(visit(host).look())
    install(host, wish("cp", "agent"))
    facts = remove(host, "cp", "agent", purge=purge)

    def story(fake: FakeHost) -> None:
        install(fake, wish("cp", "agent"))
        remove(fake, "cp", "agent", purge=purge)

    assert twin(story) == essence(facts)
    if purge:
        assert bare == essence(facts)
    else:
        assert facts.has_authority
        assert facts.identity is not None
        assert NODE_ID == install(host, wish("cp", "agent", join="")).identity.node_id  # type: ignore[union-attr]
