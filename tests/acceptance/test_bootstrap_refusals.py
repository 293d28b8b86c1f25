"""
Everything that can be wrong with a real host ends before harm, with a message that names the mend.

What no host of the bed can show (Python 3.8, another architecture, an old engine, another clock) is fed to the plan as
facts, in `tests/unit/bootstrap/test_preflight.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, Ended
from tests.bed.commands import run
from tests.bed.host import Host
from tests.bed.hosts import Hosts, Shape
from tests.waiting import eventually

pytestmark = [pytest.mark.bed, pytest.mark.slow]

OURS = "find / -ignore_readdir_race -xdev ! -path '/proc/*' ! -path '/var/log/*' -iname '*fledx*' -print"


@pytest.fixture(scope="module")
def desk(pyz: Path, hosts_of_session: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a control plane that runs, and a bare host n1."""
    hosts_of_session.renew("cp", "n1")
    desk = Desk(pyz, tmp_path_factory.mktemp("desk") / "home", hosts_of_session)
    desk.does("bootstrap", "cp", "--cp-hostname", hosts_of_session["cp"].address, "--ssh-host", "cp")
    return desk


@pytest.fixture
def bare(desk: Desk) -> Iterator[Host]:
    """A host that has nothing of fledx before, and nothing after."""
    host = desk.bed["n1"]
    assert "" == host.shell(OURS)
    yield host
    assert "" == host.shell(OURS)


@pytest.fixture
def fresh(desk: Desk) -> Iterator[Host]:
    """A host without Docker, whose key nobody knows."""
    desk.known_hosts.unlink(missing_ok=True)
    yield desk.bed.add("fresh", Shape(target="fresh"))
    desk.bed.remove("fresh")


def refused(ended: Ended, *texts: str) -> None:
    assert 1 == ended.code, ended
    assert [] == [text for text in texts if text not in ended.err], ended.err


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """How to make it on a host, how to unmake it, and what has to be said of it."""

    make: str
    unmake: str
    said: tuple[str, ...]
    words: tuple[str, ...] = ("agent",)


SQUAT = (
    "systemd-run --quiet --unit squatter python3 -m http.server {port}\n"
    "until curl -s -o /dev/null http://127.0.0.1:{port}/; do sleep 0.1; done"
)

TROUBLES = {
    "docker stopped": Trouble(
        make="systemctl stop docker.socket docker",
        unmake="systemctl start docker.socket docker",
        said=("its Docker engine does not run", "systemctl enable --now docker"),
    ),
    "read-only /usr": Trouble(
        make="mount --bind /usr /usr && mount -o remount,ro,bind /usr",
        unmake="umount -l /usr",
        said=("/usr/local/bin cannot be written", "mounted read-only", "--bin-dir"),
    ),
    "no room for programs": Trouble(
        make="mount -t tmpfs -o size=4m tmpfs /usr/local/bin",
        unmake="umount -l /usr/local/bin",
        said=("/usr/local/bin has 4 MB left", "are needed", "free some space there"),
    ),
    "no room for data": Trouble(
        make="mkdir /var/lib/fledx && mount -t tmpfs -o size=8m tmpfs /var/lib/fledx",
        unmake="umount /var/lib/fledx && rmdir /var/lib/fledx",
        said=("/var/lib/fledx has 8 MB left", "are needed"),
    ),
    "no Python": Trouble(
        make="mkdir /root/aside && mv /usr/bin/python3* /root/aside/",
        unmake="mv /root/aside/python3* /usr/bin/ && rmdir /root/aside",
        said=("it has no Python", "sudo apt-get install python3"),
    ),
    "API port taken": Trouble(
        make=SQUAT.format(port=8080),
        unmake="systemctl stop squatter",
        said=("port 8080 is taken by python3 (pid ", "--server-port"),
        words=("cp", "--cp-hostname", "HERE"),
    ),
    "tunnel port taken": Trouble(
        make=SQUAT.format(port=7443),
        unmake="systemctl stop squatter",
        said=("port 7443 is taken by python3 (pid ", "--tunnel-port"),
        words=("cp", "--cp-hostname", "HERE"),
    ),
    "a unit of that name": Trouble(
        make="printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/fledx-cp.service",
        unmake="rm /etc/systemd/system/fledx-cp.service",
        said=("fledx-cp.service was not written by fledx bootstrap", "systemctl disable --now"),
        words=("cp", "--cp-hostname", "HERE"),
    ),
    "unresolvable --cp-hostname": Trouble(
        make="true",
        unmake="true",
        said=("the name nowhere.invalid is not known here", "by which operators and nodes reach this host"),
        words=("cp", "--cp-hostname", "nowhere.invalid"),
    ),
    "--cp-hostname of another machine": Trouble(
        make="true",
        unmake="true",
        said=("leads to another machine", "correct --cp-hostname"),
        words=("cp", "--cp-hostname", "OTHER"),
    ),
    "--cp-hostname behind a wall": Trouble(
        make="iptables -t raw -I PREROUTING -p tcp --dport 7443 -j DROP",
        unmake="iptables -t raw -D PREROUTING -p tcp --dport 7443 -j DROP",
        said=(":7443 does not answer from here", "open or forward these ports"),
        words=("cp", "--cp-hostname", "HERE"),
    ),
}


@pytest.mark.parametrize("case", TROUBLES)
def test_what_is_wrong_with_a_host_is_told_before_it_is_touched(desk: Desk, bare: Host, case: str) -> None:
    trouble = TROUBLES[case]
    names = {"HERE": bare.address, "OTHER": desk.bed["cp"].address}
    bare.shell(trouble.make)
    try:
        words = [names.get(word, word) for word in trouble.words]
        ended = desk.run("bootstrap", *words, "--ssh-host", "n1")
    finally:
        bare.shell(trouble.unmake)
    refused(ended, "n1: ", "nothing was changed", *trouble.said)


def test_a_node_that_cannot_reach_the_control_plane_is_told_so(desk: Desk, bare: Host) -> None:
    bare.net.cut(desk.bed["cp"].address)
    ended = desk.run("bootstrap", "agent", "--ssh-host", "n1")
    bare.net.heal()
    refused(ended, f"it cannot reach the control plane's tunnel at {desk.bed['cp'].address}:7443", "open port 7443")


def test_a_host_without_docker_is_told_what_installs_it(desk: Desk, fresh: Host) -> None:
    refused(desk.run("bootstrap", "agent", "--ssh-host", "fresh"), "it has no Docker engine", "--install-docker")
    assert "" == fresh.shell(OURS)


def test_docker_is_installed_from_the_distribution_when_that_is_asked_for(desk: Desk, fresh: Host) -> None:
    ended = desk.does("bootstrap", "agent", "--ssh-host", "fresh", "--install-docker")
    assert "install Docker from the host's distribution" in ended.err
    assert "ready" == desk.nodes()["fresh"]["status"]


LOGINS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "wrong sudo password": (("--ssh-host", "deploy@n1", "--sudo-interactive"), "wrong\n", ("refused the password",)),
    "sudo may not ask": (("--ssh-host", "deploy@n1"), "", ("asks for a password", "--sudo-interactive")),
    "no sudo at all": (
        ("--ssh-host", "plain@n1", "--sudo-interactive"),
        "plain-pw\n",
        ("may not use sudo", "group sudo"),
    ),
    "wrong user": (("--ssh-host", "nobody-here@n1"), "", ("does not let nobody-here in", "--ssh-user")),
    "wrong port": (("--ssh-host", "n1", "--ssh-port", "2222"), "", ("no SSH at", "--ssh-port")),
    "unknown host": (("--ssh-host", "nowhere.invalid"), "", ("nowhere.invalid is not known here", "~/.ssh/config")),
}


@pytest.mark.parametrize("case", LOGINS)
def test_a_way_in_that_is_closed_is_told(desk: Desk, bare: Host, case: str) -> None:
    words, stdin, said = LOGINS[case]
    ended = desk.run("bootstrap", "agent", *words, stdin=stdin)
    refused(ended, *said)
    assert [] == [secret for secret in ("wrong", "plain-pw") if stdin.strip() == secret and secret in ended.err]


@pytest.fixture
def keyless(desk: Desk, bare: Host, tmp_path: Path) -> Iterator[Desk]:
    """The operator without keys of their own and without the bed's config."""
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/config").write_text(f"Host n1\n  HostName {bare.address}\n")
    before = dict(desk.environ)
    desk.environ.update(HOME=str(tmp_path / "home"), XDG_CONFIG_HOME=f"{desk.home}/.config")
    yield desk
    desk.environ.clear()
    desk.environ.update(before)


def test_a_wrong_key_is_told_and_none_is_tried_in_its_place(keyless: Desk, tmp_path: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger")
    words = ["bootstrap", "agent", "--ssh-host", "ops@n1", "--ssh-identity-file", str(tmp_path / "stranger")]
    refused(keyless.run(*words), "does not let ops in", "--ssh-identity-file")


def test_a_key_that_only_the_agent_has_lets_in(keyless: Desk, tmp_path: Path) -> None:
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:
        eventually(socket.exists)
        run("ssh-add", "-q", keyless.bed.ssh_key, env={"SSH_AUTH_SOCK": str(socket)})
        keyless.environ["SSH_AUTH_SOCK"] = str(socket)
        try:
            assert "not installed" in keyless.does("bootstrap", "status", "--ssh-host", "ops@n1").out
        finally:
            agent.terminate()


def test_a_locked_key_is_unlocked_and_a_password_is_given_only_where_asking_is_allowed(
    keyless: Desk, tmp_path: Path
) -> None:
    shutil.copy(keyless.bed.ssh_key, tmp_path / "locked")
    run("ssh-keygen", "-q", "-p", "-N", "a phrase", "-f", tmp_path / "locked")
    locked = ["bootstrap", "status", "--ssh-host", "ops@n1", "--ssh-identity-file", str(tmp_path / "locked")]
    refused(keyless.run(*locked), "locked by a passphrase", "ssh-add", "--ssh-interactive")
    assert "not installed" in keyless.does(*locked, "--ssh-interactive", stdin="a phrase\n").out
    refused(keyless.run(*locked, "--ssh-interactive", stdin="wrong\n"), "not the passphrase of")

    password = ["bootstrap", "status", "--ssh-host", "deploy@n1", "--ssh-interactive", "--sudo-interactive"]
    ended = keyless.does(*password, stdin="deploy-pw\ndeploy-pw\n")
    assert "not installed" in ended.out
    assert "deploy-pw" not in ended.out + ended.err


def fingerprint(host: Host) -> str:
    return host.shell("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]


def test_a_new_host_is_accepted_and_printed_and_a_strict_operator_is_not_surprised(desk: Desk, bare: Host) -> None:
    desk.known_hosts.unlink(missing_ok=True)
    strict = desk.run("bootstrap", "status", "--ssh-host", "n1", "--ssh-host-key-checking", "strict")
    refused(strict, fingerprint(bare), "is not known yet", "ssh-keygen -lf")
    off = desk.does("bootstrap", "status", "--ssh-host", "n1", "--ssh-host-key-checking", "off")
    assert "accepted for this run only" in off.err
    assert not desk.known_hosts.exists()
    assert fingerprint(bare) in desk.does("bootstrap", "status", "--ssh-host", "n1").err
    assert "" == desk.does("bootstrap", "status", "--ssh-host", "n1").err


@pytest.mark.parametrize("policy", ["accept-new", "strict", "off"])
def test_a_changed_key_is_refused_whatever_the_policy(desk: Desk, bare: Host, policy: str) -> None:
    desk.does("bootstrap", "status", "--ssh-host", "n1")
    before = fingerprint(bare)
    new = (
        "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh"
    )
    bare.shell(new)
    ended = desk.run("bootstrap", "agent", "--ssh-host", "n1", "--ssh-host-key-checking", policy)
    refused(ended, "has changed", before, fingerprint(bare), "ssh-keygen -R")
    desk.known_hosts.unlink()


def test_a_host_behind_another_is_reached_as_ssh_config_says(desk: Desk, bare: Host) -> None:
    config = desk.home / ".ssh/config"
    text = config.read_text()
    config.write_text(f"Host hidden\n  HostName {bare.address}\n  ProxyJump cp\n{text}")
    try:
        told = desk.does("bootstrap", "status", "--ssh-host", "hidden", "--json").facts()[0]
    finally:
        config.write_text(text)
    assert (True, {}) == (told["ok"], told["roles"])
    last = "journalctl -u ssh --no-pager -o cat | grep Accepted | tail -n 1"
    eventually(lambda: f"from {desk.bed['cp'].address} " in bare.shell(last))


CUTS = ("place /usr/local/bin/fledx-", "write /etc/systemd/system/fledx-agent.service", "enable and start fledx-agent")


@pytest.mark.parametrize("line", CUTS)
def test_a_connection_that_is_lost_at_a_step_is_taken_up_there_by_the_same_command(desk: Desk, line: str) -> None:
    desk.bed.renew("n2")
    desk.known_hosts.unlink(missing_ok=True)
    host = desk.bed["n2"]
    again = ("bootstrap", "agent", "--ssh-host", "n2", "--name", f"cut-{CUTS.index(line)}")
    cut = desk.until(f"] {line}", lambda: drop_sessions(host), *again)
    refused(cut, "was lost while this was done", "run the same command again: it goes on from there")

    ended = desk.does(*again)
    assert "done" in ended.out
    assert "nothing to do" in desk.does(*again).out
    assert "ready" == desk.nodes()[f"cut-{CUTS.index(line)}"]["status"]
    assert "" == host.shell("ls -A /etc/fledx | grep join || true; ls -A /usr/local/bin | grep '^\\.' || true")


def drop_sessions(host: Host) -> None:
    """End every SSH session of ops on the host, as a broken network would in the end."""
    host.shell("for pid in $(pgrep -f '^sshd: ops'); do kill -9 $pid; done")


def test_a_control_plane_that_is_installed_by_its_own_user_with_sudos_password(desk: Desk, tmp_path: Path) -> None:
    """The README's first command, on the machine itself."""
    desk.bed.renew("n2")
    host = desk.bed["n2"]
    host.put(desk.pyz, "/home/deploy/fledx")
    command = f"./fledx bootstrap cp --sudo-interactive --cp-hostname {host.address}"
    refused(_as_deploy(host, command, "wrong\n"), "sudo on this machine refused the password")
    ended = _as_deploy(host, command, "deploy-pw\n")
    assert (0, True) == (ended.code, f"https://{host.address}:8080" in ended.out), ended
    assert "deploy-pw" not in ended.out + ended.err
    status = eventually(lambda: _as_deploy(host, "./fledx status", "").out)
    assert "ready=0" in status


def _as_deploy(host: Host, command: str, stdin: str) -> Ended:
    done = host.ssh_finish(command, user="deploy", stdin=stdin)
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)
