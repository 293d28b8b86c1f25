"""From facts and wishes to steps."""

from __future__ import annotations

import dataclasses

import pytest

from fledx.bootstrap.facts import Archive, Docker, Entry, HostFacts, Inotify, Python, User
from fledx.bootstrap.layout import ROLES, Layout, Role, unit_path
from fledx.bootstrap.plan import plan
from fledx.bootstrap.services import InstallDocker
from fledx.bootstrap.steps import SwitchLink, WriteFile
from fledx.bootstrap.wanted import RoleWish, control_plane_wish
from fledx.settings.envfile import values_in
from tests.fakes.host import PYTHON, FakeHost, bare_host
from tests.unit.bootstrap.wishes import both_roles, install, lines, one_role, package, wanted


def test_a_bare_host_becomes_a_control_plane_in_the_order_in_which_each_needs_the_one_before() -> None:
    assert lines(plan(bare_host(), wanted(one_role("cp")))) == [
        "place /usr/local/bin/fledx-0.1.0-00000000000000aa.pyz (0.0 MB)",
        "make the system user fledx-cp",
        "make /etc/fledx (root:root, 711)",
        "make /var/lib/fledx (root:root, 711)",
        "make /var/lib/fledx/cp (fledx-cp:fledx-cp, 700)",
        "link /usr/local/bin/fledx to fledx-0.1.0-00000000000000aa.pyz",
        "link /usr/local/bin/fledx-cp to fledx",
        "write /etc/fledx/fledx-cp.env",
        "write /etc/systemd/system/fledx-cp.service",
        "enable and start fledx-cp.service",
    ]


def test_a_bare_host_becomes_a_node() -> None:
    assert lines(plan(bare_host(), wanted(one_role("agent")))) == [
        "place /usr/local/bin/fledx-0.1.0-00000000000000aa.pyz (0.0 MB)",
        "make the system user fledx-agent",
        "put fledx-agent into the group docker",
        "make /etc/fledx (root:root, 711)",
        "make /var/lib/fledx (root:root, 711)",
        "make /var/lib/fledx/agent (fledx-agent:fledx-agent, 700)",
        "make /etc/fledx/agent (fledx-agent:fledx-agent, 700)",
        "make /var/lib/fledx/volumes (fledx-agent:fledx-agent, 711)",
        "link /usr/local/bin/fledx to fledx-0.1.0-00000000000000aa.pyz",
        "link /usr/local/bin/fledx-agent to fledx",
        "write /etc/fledx/fledx-agent.env",
        "write /etc/systemd/system/fledx-agent.service",
        "write /etc/fledx/fledx-agent.join",
        "enable and start fledx-agent.service",
        "have it join the control plane",
    ]


def test_every_step_says_why() -> None:
    found = plan(bare_host(), wanted(install_docker=True))
    assert [step.line for step in found.steps if not step.reason] == []


@pytest.mark.parametrize("roles", [["cp"], ["agent"], ["cp", "agent"]])
def test_the_plan_for_what_a_plan_left_behind_is_empty(roles: list[Role]) -> None:
    host = FakeHost()
    wish = wanted({role: both_roles()[role] for role in roles})
    install(host, wish)
    assert lines(plan(host.facts, wish)) == []


def test_what_this_run_does_not_mention_stays_as_it_is() -> None:
    host = FakeHost()
    layout = Layout()
    install(host, wanted({"cp": control_plane_wish(layout, host="cp.example.com", server_port=9090)}))
    install(host, wanted({"cp": control_plane_wish(layout, host="cp.example.com", tunnel_port=7444)}))
    settings = host.facts.settings("cp")
    assert (settings["FLEDX_CP_SERVER_PORT"], settings["FLEDX_CP_TUNNEL_ADVERTISED_PORT"]) == ("9090", "7444")


def test_what_an_operator_wrote_into_the_env_file_stays_and_restarts_the_service_once() -> None:
    host, wish = FakeHost(), wanted(one_role("cp"))
    install(host, wish)
    path = host.facts.layout.env_file("cp")
    by_hand = (host.facts.files[path].content or "") + "# mine\nFLEDX_CP_RETENTION_EVENT_SECS=60\n"
    host.change(files={**host.facts.files, path: Entry(owner="root:root", mode="600", content=by_hand)})

    assert lines(plan(host.facts, wish)) == [
        "change /etc/systemd/system/fledx-cp.service",
        "restart fledx-cp.service",
    ]
    install(host, wish)
    assert host.facts.files[path].content == by_hand
    assert lines(plan(host.facts, wish)) == []


def test_a_changed_setting_is_named_in_the_reason_and_its_value_is_not() -> None:
    host = FakeHost()
    install(host, wanted(one_role("cp")))
    wish = wanted({"cp": RoleWish(given={"FLEDX_CP_TOKENS_PEPPER": "hush"})})
    (step,) = [step for step in plan(host.facts, wish).steps if step.line == "change /etc/fledx/fledx-cp.env"]
    assert step.reason == "other values: FLEDX_CP_TOKENS_PEPPER"
    assert "hush" not in repr(step)


def test_a_new_version_takes_both_roles_along_and_keeps_the_way_back() -> None:
    host = FakeHost()
    install(host, wanted())
    newer = package("0.2.0", "00000000000000bb")
    assert lines(plan(host.facts, wanted({}, package=newer))) == [
        "place /usr/local/bin/fledx-0.2.0-00000000000000bb.pyz (0.0 MB)",
        "link /usr/local/bin/fledx-previous to fledx-0.1.0-00000000000000aa.pyz",
        "link /usr/local/bin/fledx to fledx-0.2.0-00000000000000bb.pyz",
        "change /etc/systemd/system/fledx-cp.service",
        "restart fledx-cp.service",
        "change /etc/systemd/system/fledx-agent.service",
        "restart fledx-agent.service",
    ]


def test_of_all_versions_two_are_kept() -> None:
    host = FakeHost()
    for build in ("aa", "bb", "cc"):
        install(host, wanted(one_role("cp"), package=package("0.1.0", f"00000000000000{build}")))
    assert sorted(path[-8:-4] for path in host.facts.archives) == [".pyz"] or sorted(
        path.rpartition("-")[2] for path in host.facts.archives
    ) == ["00000000000000bb.pyz", "00000000000000cc.pyz"]


def test_going_back_is_one_link_and_a_restart() -> None:
    host = FakeHost()
    older, newer = package("0.1.0", "00000000000000aa"), package("0.2.0", "00000000000000bb")
    install(host, wanted(one_role("cp"), package=older))
    install(host, wanted(one_role("cp"), package=newer))
    back = dataclasses.replace(older, data=b"")
    found = lines(plan(host.facts, wanted({}, package=back)))
    assert not any(line.startswith("place") for line in found)
    install(host, wanted({}, package=back))
    links = host.facts.links
    assert links["/usr/local/bin/fledx"] == "fledx-0.1.0-00000000000000aa.pyz"
    assert links["/usr/local/bin/fledx-previous"] == "fledx-0.2.0-00000000000000bb.pyz"


def test_an_archive_that_was_damaged_on_the_host_is_shipped_anew() -> None:
    host, wish = FakeHost(), wanted(one_role("cp"))
    install(host, wish)
    (path,) = host.facts.archives
    host.change(archives={path: Archive(digest="0" * 64)})
    assert lines(plan(host.facts, wish))[0].startswith(f"place {path}")


def test_a_join_string_that_an_interrupted_run_left_is_removed() -> None:
    host, wish = FakeHost(), wanted(one_role("agent"))
    install(host, wish)
    host.change(has_join=True)
    assert lines(plan(host.facts, wish)) == ["remove /etc/fledx/fledx-agent.join"]


def test_docker_is_installed_only_where_it_is_absent_and_asked_for() -> None:
    without = bare_host(docker=Docker())
    found = plan(without, wanted(one_role("agent"), install_docker=True)).steps[0]
    assert isinstance(found, InstallDocker)
    assert "apt-get" in found.script()
    stopped = bare_host(docker=Docker(installed=True))
    found = plan(stopped, wanted(one_role("agent"), install_docker=True)).steps[0]
    assert found.line == "start Docker"
    assert "apt-get" not in found.script()
    assert not any(
        isinstance(step, InstallDocker)
        for step in plan(bare_host(), wanted(one_role("agent"), install_docker=True)).steps
    )


def test_a_user_with_a_shell_loses_it_and_stays() -> None:
    host, wish = FakeHost(), wanted(one_role("cp"))
    install(host, wish)
    host.change(users={"fledx-cp": User(shell="/bin/bash", groups=("fledx-cp",))})
    (step,) = plan(host.facts, wish).steps
    assert step.line == "take the shell from fledx-cp"
    assert step.undo() == ()


def test_directories_that_others_could_write_are_put_right_and_stricter_ones_left() -> None:
    host, wish = FakeHost(), wanted(one_role("cp"))
    install(host, wish)
    host.change(
        directories={
            **host.facts.directories,
            "/etc/fledx": Entry(owner="root:adm", mode="750"),
            "/var/lib/fledx": Entry(owner="root:root", mode="777"),
            "/var/lib/fledx/cp": Entry(owner="root:root", mode="755"),
        }
    )
    assert lines(plan(host.facts, wish)) == [
        "set /var/lib/fledx (root:root, 711)",
        "set /var/lib/fledx/cp (fledx-cp:fledx-cp, 700)",
    ]


def test_a_python_other_than_python3_is_named_in_the_unit() -> None:
    pythons = (
        Python(path="/usr/bin/python3", version=(3, 8, 10)),
        Python(path="/usr/bin/python3.11", version=(3, 11, 2), libc="glibc-2.31"),
    )
    host = FakeHost(bare_host(pythons=pythons))
    install(host, wanted(one_role("cp")))
    assert "Environment=FLEDX_PYTHON=/usr/bin/python3.11" in (host.facts.files[unit_path("cp")].content or "")
    host = FakeHost(bare_host(pythons=(PYTHON,)))
    install(host, wanted(one_role("cp")))
    assert "FLEDX_PYTHON" not in (host.facts.files[unit_path("cp")].content or "")


def test_env_files_are_for_root_alone_and_hold_what_the_role_reads() -> None:
    host = FakeHost()
    install(host, wanted())
    for role in ROLES:
        entry = host.facts.files[host.facts.layout.env_file(role)]
        assert (entry.owner, entry.mode) == ("root:root", "600")
    assert values_in(host.facts.files["/etc/fledx/fledx-cp.env"].content or "") == {
        "FLEDX_CP_DATA_DIR": "/var/lib/fledx/cp",
        "FLEDX_CP_SERVER_HOST": "0.0.0.0",
        "FLEDX_CP_SERVER_PORT": "8080",
        "FLEDX_CP_SERVER_TLS": "true",
        "FLEDX_CP_SERVER_NAMES": "cp.example.com",
        "FLEDX_CP_TUNNEL_ADVERTISED_HOST": "cp.example.com",
        "FLEDX_CP_TUNNEL_ADVERTISED_PORT": "7443",
    }


def test_the_join_string_is_in_no_line_and_no_repr_of_the_plan() -> None:
    found = plan(bare_host(), wanted(one_role("agent"), join="fledx-join.aHVzaA"))
    assert "aHVzaA" not in repr(found)
    (step,) = [step for step in found.steps if isinstance(step, WriteFile) and step.path.endswith(".join")]
    assert step.feed() == b"FLEDX_AGENT_JOIN=fledx-join.aHVzaA\n"
    assert (step.owner, step.mode) == ("root:root", "600")


def gateway(**facts: object) -> HostFacts:
    """A host whose operator has written into its settings that it is a gateway."""
    settings = Entry(owner="root:root", mode="600", content="FLEDX_AGENT_GATEWAY_ENABLED=yes\n")
    return bare_host(files={Layout().env_file("agent"): settings}, **facts)


def limit_lines(facts: HostFacts) -> list[str]:
    return [line for line in lines(plan(facts, wanted(one_role("agent")))) if "inotify" in line]


def test_the_kernel_of_a_gateway_is_to_let_envoy_watch_a_file_for_each_backend() -> None:
    expected = "write /etc/sysctl.d/60-fledx.conf (fs.inotify.max_user_instances from 128 to 8192)"
    assert [expected] == limit_lines(gateway())
    host = FakeHost(gateway())
    install(host, wanted(one_role("agent")))
    assert "fs.inotify.max_user_instances = 8192\n" in (host.facts.files["/etc/sysctl.d/60-fledx.conf"].content or "")
    assert Inotify(instances=8192) == host.facts.inotify
    assert [] == lines(plan(host.facts, wanted(one_role("agent"))))


@pytest.mark.parametrize(
    "facts",
    [bare_host(), gateway(inotify=Inotify(instances=65536)), gateway(inotify=None)],
    ids=["no gateway", "allowed already", "a kernel without it"],
)
def test_a_kernel_that_is_good_enough_is_left_alone(facts: HostFacts) -> None:
    assert [] == limit_lines(facts)


def test_a_kernel_that_cannot_be_told_from_there_keeps_no_gateway_from_its_work() -> None:
    found = plan(gateway(inotify=Inotify(instances=128, settable=False)), wanted(one_role("agent")))
    (trouble,) = found.troubles
    assert (False, []) == (trouble.fatal, [step.line for step in found.steps if "inotify" in step.line])
    assert "sudo sysctl -w fs.inotify.max_user_instances=8192" in trouble.mend


def test_links_are_relative_so_that_the_directory_can_be_mounted_elsewhere() -> None:
    found = plan(bare_host(), wanted())
    assert [step.target for step in found.steps if isinstance(step, SwitchLink) and "/" in step.target] == []
