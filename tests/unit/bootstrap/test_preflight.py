"""What stands in the way is found before harm, and the message names the mend; facts that no real host can show too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from fledx.bootstrap.facts import Docker, Entry, Identity, Python, Space
from fledx.bootstrap.layout import Layout, Role, unit_path
from fledx.bootstrap.plan import plan
from fledx.bootstrap.wanted import Trouble, control_plane_wish
from tests.fakes.host import PYTHON, FakeHost, bare_host
from tests.unit.bootstrap.wishes import install, one_role, wanted

FULL = Space(free=3 * 2**20, writable=True)
READ_ONLY = Space(free=10 * 2**30, writable=False)
ROOMY = Space(free=10 * 2**30, writable=True)

CASES: dict[str, tuple[Role, Mapping[str, Any], str, str]] = {
    "not-linux": ("cp", {"system": "FreeBSD"}, "it runs FreeBSD", "needs a host with Linux"),
    "wrong-arch-for-cp": ("cp", {"machine": "armv7l"}, "architecture is armv7l", "one of x86_64, aarch64"),
    "wrong-arch-for-agent": ("agent", {"machine": "riscv64"}, "architecture is riscv64", "x86_64, aarch64, armv7l"),
    "no-systemd": ("cp", {"systemd": None}, "systemd does not run it", "whose services systemd runs"),
    "no-python": ("cp", {"pythons": ()}, "it has no Python", "sudo apt-get install python3"),
    "python-3.8": (
        "agent",
        {"pythons": (Python(path="/usr/bin/python3", version=(3, 8, 10)),), "families": ("ubuntu", "debian")},
        "/usr/bin/python3 is Python 3.8.10",
        "3.10 or newer, beside it if need be: sudo apt-get install python3.11",
    ),
    "python-without-its-library": (
        "cp",
        {"pythons": (Python(path="/usr/bin/python3", version=(3, 11, 2), missing=("_ssl", "_sqlite3")),)},
        "lacks modules of Python's own library: _ssl, _sqlite3",
        "install the whole Python: sudo apt-get install python3",
    ),
    "python-on-fedora": ("cp", {"pythons": (), "families": ("fedora",)}, "no Python", "sudo dnf install python3"),
    "musl": (
        "cp",
        {"pythons": (Python(path="/usr/bin/python3", version=(3, 12, 1), libc="other"),)},
        "built for 64 bits and other",
        "a 64-bit Python on glibc",
    ),
    "full-disk-for-programs": (
        "cp",
        {"spaces": {"/usr/local/bin": Space(free=0, writable=True), "/var/lib/fledx": ROOMY, "/etc/fledx": ROOMY}},
        "/usr/local/bin has 0 MB left",
        "free some space there",
    ),
    "full-disk-for-data": (
        "agent",
        {"spaces": {"/usr/local/bin": ROOMY, "/var/lib/fledx": FULL, "/etc/fledx": ROOMY}},
        "/var/lib/fledx has 3 MB left, and 268 MB are needed",
        "docker system prune",
    ),
    "read-only-usr": (
        "cp",
        {"spaces": {"/usr/local/bin": READ_ONLY, "/var/lib/fledx": ROOMY, "/etc/fledx": ROOMY}},
        "/usr/local/bin cannot be written: its file system is mounted read-only",
        "choose another place with --bin-dir",
    ),
    "clock-a-year-off": (
        "cp",
        {"now": time.time() - 366 * 86400},
        "certificates and tokens",
        "timedatectl set-ntp true",
    ),
    "clock-an-hour-off": ("agent", {"now": time.time() + 3600}, "its clock says", "timedatectl set-ntp true"),
    "api-port-taken": (
        "cp",
        {"listening": {8080: "nginx (pid 812)"}},
        "port 8080 is taken by nginx (pid 812)",
        "--server-port",
    ),
    "tunnel-port-taken": ("cp", {"listening": {7443: None}}, "port 7443 is taken by another process", "--tunnel-port"),
    "no-docker": ("agent", {"docker": Docker()}, "it has no Docker engine", "--install-docker installs"),
    "docker-stopped": ("agent", {"docker": Docker(installed=True)}, "does not run", "systemctl enable --now docker"),
    "docker-mute": (
        "agent",
        {"docker": Docker(installed=True, running=True, group="docker", error="timed out")},
        "its Docker engine does not answer: timed out",
        "systemctl restart docker",
    ),
    "docker-too-old": (
        "agent",
        {"docker": Docker(installed=True, running=True, group="docker", api=(1, 39), version="18.09.1")},
        "Docker 18.09.1 is too old (API 1.39)",
        "20.10 or newer",
    ),
    "docker-of-root-alone": (
        "agent",
        {"docker": Docker(installed=True, running=True, group="root", api=(1, 45), version="26")},
        "belongs to the group root",
        "groupadd -f docker",
    ),
    "another-control-plane": (
        "agent",
        {"identity": Identity(node_id="n-1", host="other", port=7443, authorities=("aa",))},
        "it is a node of another control plane, other:7443",
        "uninstall agent --purge",
    ),
    "unreadable-identity": (
        "agent",
        {"identity": Identity(node_id=None, host="-", port=0)},
        "identity.json cannot be read",
        "sudo rm that file",
    ),
    "fledx-core-is-there": (
        "cp",
        {"links": {"/usr/local/bin/fledx-cp": None}},
        "/usr/local/bin/fledx-cp was not put there by fledx bootstrap",
        "sudo mv /usr/local/bin/fledx-cp /usr/local/bin/fledx-cp.old",
    ),
    "its-unit-is-there": (
        "cp",
        {"files": {unit_path("cp"): Entry(owner="root:root", mode="644", content="[Service]\nExecStart=/x\n")}},
        "fledx-cp.service was not written by fledx bootstrap",
        "systemctl disable --now fledx-cp.service",
    ),
    "data-in-a-home": (
        "cp",
        {"layout": Layout(data_dir="/home/me/fledx")},
        "a service is kept out of /home/me/fledx",
        "outside /home, /root, /run and /tmp",
    ),
    "it-lies-elsewhere": (
        "cp",
        {"placed": Layout(data_dir="/srv/fledx")},
        "fledx lies elsewhere on it: /usr/local/bin, /etc/fledx and /srv/fledx",
        "leave out --bin-dir",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_is_named_with_its_mend_and_nothing_is_planned(case: str) -> None:
    role, facts, text, mend = CASES[case]
    found = plan(bare_host(**facts), wanted(one_role(role), authorities=("bb",)))
    said = [(trouble.text, trouble.mend) for trouble in found.fatal]
    assert [pair for pair in said if text in pair[0] and mend in pair[1]], said
    assert found.steps == ()


def test_nothing_stands_in_the_way_of_a_sound_host() -> None:
    assert plan(bare_host(), wanted()).troubles == ()


def test_all_troubles_are_told_together_the_fatal_first() -> None:
    found = plan(bare_host(pythons=(), docker=Docker(), systemd=241), wanted(one_role("agent")))
    assert [trouble.fatal for trouble in found.troubles] == [True, True, False]
    assert "247 and later do" in found.troubles[-1].mend


def test_what_the_network_trial_found_counts_like_the_rest() -> None:
    trouble = Trouble(text="it cannot reach the tunnel", mend="open port 7443")
    assert plan(bare_host(), wanted(reach=trouble)).fatal == (trouble,)


def test_an_old_python_beside_a_good_one_does_no_harm() -> None:
    old = Python(path="/usr/bin/python3", version=(3, 8, 10))
    good = Python(path="/usr/bin/python3.11", version=(3, 11, 2), libc="glibc-2.31")
    assert plan(bare_host(pythons=(old, good)), wanted()).fatal == ()


def test_install_docker_answers_for_its_absence_but_not_on_a_distribution_without_one() -> None:
    without = {"docker": Docker()}
    assert plan(bare_host(**without), wanted(one_role("agent"), install_docker=True)).fatal == ()
    rhel = bare_host(**without, families=("rocky", "rhel", "centos", "fedora"), distribution="Rocky Linux 9")
    (trouble,) = plan(rhel, wanted(one_role("agent"), install_docker=True)).fatal
    assert "how Rocky Linux 9 installs Docker" in trouble.text


def test_the_ports_of_our_own_running_process_are_not_taken() -> None:
    host, wish = FakeHost(), wanted(one_role("cp"))
    install(host, wish)
    host.change(listening={8080: "python3 (pid 7)", 7443: "python3 (pid 7)"})
    assert plan(host.facts, wish).fatal == ()
    other = wanted({"cp": control_plane_wish(Layout(), host="cp.example.com", server_port=8443)})
    host.change(listening={8080: "python3 (pid 7)", 7443: "python3 (pid 7)", 8443: "caddy (pid 9)"})
    (trouble,) = plan(host.facts, other).fatal
    assert trouble.text == "port 8443 is taken by caddy (pid 9)"


def test_a_small_disk_bears_a_second_run_as_the_file_is_there() -> None:
    host, wish = FakeHost(), wanted(one_role("cp"))
    install(host, wish)
    tight = Space(free=0, writable=True)
    host.change(spaces={"/usr/local/bin": tight, "/var/lib/fledx": ROOMY, "/etc/fledx": ROOMY})
    assert plan(host.facts, wish).fatal == ()


def test_a_32_bit_host_may_be_a_node_and_is_told_what_it_lacks() -> None:
    found = plan(bare_host(machine="armv7l", pythons=(PYTHON,)), wanted(one_role("agent")))
    assert [trouble.fatal for trouble in found.troubles] == [False]
    assert "central secrets" in found.troubles[0].text
