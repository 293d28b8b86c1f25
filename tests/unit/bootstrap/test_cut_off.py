"""Fault 46: cut off at every step and repeated, or failing at every step and undone."""

from __future__ import annotations

import dataclasses

import pytest

from fledx.bootstrap.facts import Entry, HostFacts, Unit
from fledx.bootstrap.host import Done, Order
from fledx.bootstrap.layout import Layout, Role, unit_name
from fledx.bootstrap.plan import plan
from fledx.bootstrap.removal import plan_removal
from fledx.bootstrap.wanted import Wanted, control_plane_wish
from fledx.errors import FledxError, Unavailable
from tests.fakes.host import FakeHost, bare_host
from tests.unit.bootstrap.wishes import both_roles, decide, install, package, visit, wanted

OLD, NEW = package("0.1.0", "00000000000000aa"), package("0.2.0", "00000000000000bb")


def fresh() -> FakeHost:
    return FakeHost()


GATEWAY = Entry(owner="root:root", mode="600", content="FLEDX_AGENT_GATEWAY_ENABLED=true\n")


def with_the_old_version() -> FakeHost:
    """A gateway, whose kernel is to allow what its Envoy needs."""
    host = FakeHost(bare_host(files={"/etc/fledx/fledx-agent.env": GATEWAY}))
    install(host, wanted(package=OLD))
    host.reconnect()
    return host


def with_a_half_made_one() -> FakeHost:
    """Somebody began by hand: a user with a shell, a directory of the wrong owner, an env file of their own."""
    host = FakeHost(
        bare_host(
            files={
                "/etc/fledx/fledx-cp.env": Entry(owner="root:root", mode="644", content="RUST_LOG=debug\n"),
                "/etc/fledx/fledx-agent.env": GATEWAY,
            },
            directories={
                "/usr/local/bin": Entry(owner="root:root", mode="755"),
                "/etc/fledx": Entry(owner="root:root", mode="777"),
            },
        )
    )
    return host


HOSTS = {"fresh": fresh, "older": with_the_old_version, "half-made": with_a_half_made_one}
ROLES: dict[str, tuple[Role, ...]] = {"cp": ("cp",), "agent": ("agent",), "both": ("cp", "agent")}


def wish_for(roles: tuple[Role, ...]) -> Wanted:
    return wanted({role: both_roles()[role] for role in roles}, package=NEW)


def lasting(facts: HostFacts) -> HostFacts:
    """Facts without the time of the look."""
    return dataclasses.replace(facts, now=0.0)


@pytest.mark.parametrize("late", [False, True], ids=["before-its-effect", "after-its-effect"])
@pytest.mark.parametrize("roles", ROLES.values(), ids=ROLES)
@pytest.mark.parametrize("kind", HOSTS)
def test_cut_off_at_any_step_and_repeated_it_ends_as_if_undisturbed(
    kind: str, roles: tuple[Role, ...], *, late: bool
) -> None:
    undisturbed = HOSTS[kind]()
    install(undisturbed, wish_for(roles))
    for number in range(1, len(undisturbed.ran) + 1):
        host = HOSTS[kind]()
        host.cut, host.late = number, late
        with pytest.raises(Unavailable, match="was lost while this was done"):
            install(host, wish_for(roles))
        host.reconnect()
        install(host, wish_for(roles))
        assert lasting(host.facts) == lasting(undisturbed.facts), f"cut at order {number}"


@pytest.mark.parametrize("roles", ROLES.values(), ids=ROLES)
@pytest.mark.parametrize("kind", HOSTS)
def test_failing_at_any_step_leaves_the_host_as_it_was(kind: str, roles: tuple[Role, ...]) -> None:
    undisturbed = HOSTS[kind]()
    install(undisturbed, wish_for(roles))
    for number in range(1, len(undisturbed.ran) + 1):
        host = HOSTS[kind]()
        before = lasting(host.facts)
        host.fail = number
        with pytest.raises(FledxError, match="undone"):
            install(host, wish_for(roles))
        assert without_data(host.facts) == without_data(before), f"failed at order {number}"
        host.reconnect()
        install(host, wish_for(roles))
        assert lasting(host.facts) == lasting(undisturbed.facts)


def without_data(facts: HostFacts) -> HostFacts:
    """
    Facts without what a role itself made: its data, who owns it, and the memory of systemd of a unit that is gone.

    Undoing never touches data: a control plane that started has an authority that agents may know by then.
    """
    units = {name: dataclasses.replace(unit, setup=None) for name, unit in facts.units.items() if unit.runs}
    kept = {"/var/lib/fledx", "/var/lib/fledx/cp", "/var/lib/fledx/agent"}
    return dataclasses.replace(
        facts,
        now=0.0,
        has_authority=False,
        identity=None,
        users={},
        units=units,
        directories={path: entry for path, entry in facts.directories.items() if path not in kept},
    )


def test_what_ran_before_runs_again_when_a_newer_version_does_not_start() -> None:
    host = with_the_old_version()
    before = host.facts.units
    steps = [step.line for step in plan(host.facts, wish_for(("cp", "agent"))).steps]
    host.fail = steps.index("restart fledx-agent.service") + 1
    with pytest.raises(FledxError, match=r"restart fledx-agent.service: failed.*what had been done was undone"):
        install(host, wish_for(("cp", "agent")))
    assert host.facts.units == before
    assert host.starts == ["cp", "cp", "agent"]
    assert host.facts.links["/usr/local/bin/fledx"] == "fledx-0.1.0-00000000000000aa.pyz"


def test_when_undoing_fails_too_it_says_what_is_left_to_do() -> None:
    host = fresh()
    lost = host.run

    def run(order: object) -> object:
        done = lost(order)  # type: ignore[arg-type]
        if host.fail is not None and len(host.ran) == host.fail:
            host.lost = True
        return done

    host.run = run  # type: ignore[method-assign,assignment]
    host.fail = 4
    with pytest.raises(FledxError, match=r"left to do: .*remove /etc/fledx if it is empty") as told:
        install(host, wish_for(("cp",)))
    assert "remove /usr/local/bin/fledx-0.2.0-00000000000000bb.pyz" in told.value.text


def test_an_agent_that_is_refused_is_undone_and_its_join_string_is_gone() -> None:
    host = fresh()
    host.joins = False
    with pytest.raises(FledxError, match="refused: this registration token is used up"):
        install(host, wish_for(("agent",)))
    assert not host.facts.has_join
    assert host.facts.files == {}
    assert host.facts.units.get(unit_name("agent"), Unit()).active == "inactive"


def remove(host: FakeHost, *, purge: bool) -> None:
    here = visit(host)
    here.carry_out(here.look(), lambda facts: plan_removal(facts, ("cp", "agent"), purge=purge))


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_an_uninstall_that_was_cut_off_at_any_step_is_repeated_to_its_end(*, purge: bool, late: bool) -> None:
    undisturbed = with_the_old_version()
    remove(undisturbed, purge=purge)
    for number in range(1, len(undisturbed.ran) + 1):
        host = with_the_old_version()
        host.cut, host.late = number, late
        with pytest.raises(Unavailable):
            remove(host, purge=purge)
        host.reconnect()
        remove(host, purge=purge)
        assert lasting(host.facts) == lasting(undisturbed.facts), f"cut at order {number}"


def test_a_second_run_does_nothing_at_all() -> None:
    host = fresh()
    install(host, wish_for(("cp", "agent")))
    host.reconnect()
    here = visit(host)
    here.carry_out(here.look(), decide(wish_for(("cp", "agent"))))
    assert (host.ran, host.starts) == ([], [])


def test_an_interrupt_lets_the_step_end_and_begins_no_other() -> None:
    host = fresh()
    here = visit(host)
    run = host.run

    def interrupting(order: Order) -> Done:
        done = run(order)
        if len(host.ran) == 3:
            here.progress.halt.set()
        return done

    host.run = interrupting  # type: ignore[method-assign]
    with pytest.raises(FledxError, match="interrupted"):
        here.carry_out(here.look(), decide(wish_for(("cp",))))
    assert (3, False) == (len(host.ran), here.progress.undone)
    host.run = run  # type: ignore[method-assign]
    install(host, wish_for(("cp",)))
    undisturbed = fresh()
    install(undisturbed, wish_for(("cp",)))
    assert lasting(undisturbed.facts) == lasting(host.facts)


def test_a_removal_that_is_repeated_still_knows_where_things_lie() -> None:
    elsewhere = Layout(bin_dir="/opt/bin", config_dir="/opt/etc", data_dir="/srv/fledx")
    for number in range(1, 12):
        host = FakeHost(bare_host(layout=elsewhere))
        install(host, wanted({"cp": control_plane_wish(elsewhere, host="cp")}, package=OLD))
        host.reconnect()
        host.cut = number
        with pytest.raises(Unavailable):
            remove(host, purge=True)
        assert host.facts.placed == elsewhere, f"cut at order {number}"
        host.reconnect()
        remove(host, purge=True)
        assert [] == [path for path in {**host.facts.directories, **host.facts.files} if "fledx" in path]
