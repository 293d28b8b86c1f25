"""
From three bare hosts to a running fleet and back, with the built file and nothing else.

One bed for the whole file: the fleet is set up once, by the mission README's own commands; each test leaves it well.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fledx.doctor.bundle import HIDDEN
from fledx.sample.image import PORT
from tests.acceptance.desk import Desk, rebuilt
from tests.bed.host import Host
from tests.bed.hosts import Hosts
from tests.waiting import eventually

pytestmark = [pytest.mark.bed, pytest.mark.slow]

NODES = ("n1", "n2")
EVERYTHING = "find / -ignore_readdir_race -xdev ! -path '/proc/*' ! -path '/var/log/*' -iname '*fledx*' -print"

# Whatever any process is called with, for as long as it goes on.
WATCH_ARGUMENTS = """
rm -f /tmp/stop
while [ ! -e /tmp/stop ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; done
"""


@pytest.fixture(scope="module")
def desk(pyz: Path, hosts_of_session: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    hosts_of_session.renew("cp", *NODES)
    return Desk(pyz, tmp_path_factory.mktemp("desk") / "home", hosts_of_session)


@pytest.fixture(scope="module")
def arguments_seen(desk: Desk) -> dict[str, str]:
    """What was in any process list of n1 while it became a node; filled by `fleet`."""
    return {}


@pytest.fixture(scope="module")
def fleet(desk: Desk, arguments_seen: dict[str, str]) -> Hosts:
    """The README's quick start: a control plane, two nodes, each by one command."""
    bed = desk.bed
    desk.does("bootstrap", "cp", "--cp-hostname", bed["cp"].address, "--ssh-host", "ops@cp")
    watch = ["docker", "exec", "-i", bed["n1"].container, "sh", "-c", WATCH_ARGUMENTS]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as watching:
        desk.does("bootstrap", "agent", "--ssh-host", "ops@n1")
        bed["n1"].shell("touch /tmp/stop")
        assert watching.stdout is not None
        arguments_seen["n1"] = watching.stdout.read()
    desk.does("bootstrap", "agent", "--ssh-host", "ops@n2")
    return bed


@pytest.fixture(autouse=True)
def healed(fleet: Hosts) -> Iterator[None]:
    yield
    fleet.restore()


def process(host: Host, unit: str) -> str:
    return host.shell(f"systemctl show {unit} -p MainPID -p NRestarts --value").replace("\n", " ")


def main_pid(host: Host) -> str:
    return host.shell("systemctl show fledx-agent -p MainPID --value")


def containers(host: Host) -> str:
    return host.docker("ps", "-q", "--no-trunc", "--filter", "label=fledx.node_id").strip()


def lives(host: Host) -> set[str]:
    """Id, start and process of each container of ours that runs there."""
    form = "{{.Id}} {{.State.StartedAt}} {{.State.Pid}}"
    return {host.docker("inspect", "-f", form, each) for each in containers(host).split()}


def settled(host: Host) -> dict[str, Any]:
    """What its agent says of itself by the README's own line, once it has a link and all its containers run."""

    def told() -> dict[str, Any]:
        page: dict[str, Any] = json.loads(host.shell("curl -sS http://localhost:9901/health"))
        assert ("ok", None) == (page["status"], page["control_plane"]["problem"]), page
        assert page["control_plane"]["connected_since"], page
        states, running = page["instances"], len(containers(host).split())
        assert sum(states.values()) == states.get("running", 0) == running, (page, running)
        return page

    return eventually(told, within=120)


def answers(address: str, port: int) -> bool:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=10) as answer:
        return bool(answer.status == 200)


def versions(desk: Desk) -> set[str]:
    """Of those nodes that are there all the time."""
    return {node["agent_version"] for name, node in desk.nodes().items() if name in NODES}


def ready(desk: Desk, name: str) -> bool:
    node = desk.nodes().get(name)
    return node is not None and node["status"] == "ready"


def test_the_quick_start_works_word_for_word(desk: Desk, fleet: Hosts, sample_in_registry: str) -> None:
    desk.does(
        *("deployments", "create", "--name", "nginx-demo", "--image", sample_in_registry),
        *("--replicas", "2", "--port", str(PORT)),
    )
    for name in NODES:
        eventually(lambda name=name: answers(fleet[name].address, PORT), within=120)  # type: ignore[misc]
    assert "ready=2" in desk.first_words("nginx-demo", "status", "--watch")


def test_health_and_metrics_answer_on_the_host_itself_by_the_readmes_own_lines(fleet: Hosts) -> None:
    assert "ok" == json.loads(fleet["cp"].shell("curl -sS http://localhost:8080/health"))["status"]
    assert 'fledx_nodes{status="ready"} 2.0' in fleet["cp"].shell("curl -sS http://localhost:8080/metrics")
    assert "426" == fleet["cp"].shell("curl -sS -o /dev/null -w '%{http_code}' http://localhost:8080/api/v1/status")
    ca = "--cacert /var/lib/fledx/cp/ca.pem"
    assert "401" == fleet["cp"].shell(
        f"curl -sS {ca} -o /dev/null -w '%{{http_code}}' https://localhost:8080/api/v1/status"
    )
    elsewhere = f"https://{fleet['cp'].address}:8080/metrics"
    assert "401" == fleet["n1"].shell(f"curl -sSk -o /dev/null -w '%{{http_code}}' {elsewhere}")


def test_health_of_an_agent_answers_on_its_host_by_the_readmes_own_line(desk: Desk, fleet: Hosts) -> None:
    page, node = settled(fleet["n1"]), desk.nodes()["n1"]
    assert (node["node_id"], "n1", node["agent_version"]) == (page["node_id"], page["name"], page["version"])
    assert page["runtime"].startswith("docker ")
    elsewhere = f"curl -sS -m 10 http://{fleet['n1'].address}:9901/health || echo refused"
    assert "refused" == fleet["n2"].shell(elsewhere), "it is for those on the host itself"


def test_the_doctor_finds_every_host_well_and_names_what_is_broken(desk: Desk, fleet: Hosts) -> None:

    def well(host: Host, role: str) -> bool:
        found = json.loads(host.shell(f"fledx doctor {role} --json"))["items"]
        assert {each["level"] for each in found} <= {"ok", "warn"}, found
        assert {"service", "files", "disk", "tunnel"} <= {each["check"] for each in found}
        assert f"read from /etc/fledx/fledx-{role}.env" in {each["text"] for each in found}
        return True

    for name, role in (("cp", "cp"), ("n1", "agent")):
        eventually(partial(well, fleet[name], role))
    assert "operator  token" in desk.does("doctor", "operator").out

    told = fleet["cp"].shell("setpriv --reuid 65534 --regid 65534 --clear-groups fledx doctor cp")
    assert "/etc/fledx/fledx-cp.env may not be read by you" in told

    told = fleet["n1"].shell("systemctl stop docker.socket docker; fledx doctor agent || true; systemctl start docker")
    assert "systemctl start docker; is this user in the group docker?" in told
    eventually(lambda: ready(desk, "n1"), within=120)


def test_the_profile_that_was_written_pins_the_authority_and_is_for_its_owner_alone(desk: Desk, fleet: Hosts) -> None:
    folder = desk.home / ".config/fledx"
    assert {"profiles.toml": 0o600, "default-ca.pem": 0o600} == {
        path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()
    }
    shown = json.loads(desk.does("profile", "show", "--json").out)
    assert f"https://{fleet['cp'].address}:8080" == shown["control_plane_url"]
    assert fleet["cp"].shell("cat /var/lib/fledx/cp/ca.pem").strip() == (folder / "default-ca.pem").read_text().strip()


def test_a_second_run_of_each_command_finds_nothing_to_do_and_restarts_nothing(desk: Desk, fleet: Hosts) -> None:
    before = {host.name: process(host, "fledx-cp fledx-agent") for host in fleet}
    again = [
        desk.does("bootstrap", "cp", "--cp-hostname", fleet["cp"].address, "--ssh-host", "ops@cp"),
        desk.does("bootstrap", "agent", "--ssh-host", "ops@n1"),
        desk.does("bootstrap", "agent", "--ssh-host", "ops@n2"),
    ]
    assert all("nothing to do" in ended.out for ended in again)
    assert before == {host.name: process(host, "fledx-cp fledx-agent") for host in fleet}
    assert all(ready(desk, name) for name in NODES)


def test_a_dry_run_of_a_change_prints_the_plan_and_changes_nothing(desk: Desk, fleet: Hosts) -> None:
    before = process(fleet["n1"], "fledx-agent")
    planned = desk.does("bootstrap", "agent", "--ssh-host", "n1", "--label", "zone=eu", "--dry-run", "--json").facts()
    assert ["change /etc/fledx/fledx-agent.env", "change /etc/systemd/system/fledx-agent.service"] == [
        step["step"] for step in planned[0]["plan"]
    ][:2]
    assert (False, before) == (planned[0]["changed"], process(fleet["n1"], "fledx-agent"))


def test_units_are_as_exposed_as_they_have_to_be_and_no_more(fleet: Hosts) -> None:
    for host, unit, most in (("cp", "fledx-cp", 1.5), ("n1", "fledx-agent", 2.0)):
        said = fleet[host].shell(f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
        assert float(said.partition("service: ")[2].split()[0]) <= most, said


def test_processes_run_as_users_without_a_shell_and_what_they_keep_is_theirs(fleet: Hosts) -> None:
    for host, role in (("cp", "cp"), ("n1", "agent")):
        user = f"fledx-{role}"
        assert user == fleet[host].shell(f"ps -o user= -p $(systemctl show {user} -p MainPID --value)")
        assert "/usr/sbin/nologin" == fleet[host].shell(f"getent passwd {user} | cut -d: -f7")
        open_to_all = fleet[host].shell(f"find /var/lib/fledx/{role} /etc/fledx -type f -perm /077")
        assert "" == open_to_all
    assert "root:root 600" == fleet["n1"].shell("stat -c '%U:%G %a' /etc/fledx/fledx-agent.env")


def test_no_secret_is_in_a_process_list_a_journal_a_history_or_a_readable_file(
    fleet: Hosts, arguments_seen: dict[str, str]
) -> None:
    secrets = [
        fleet["cp"].shell("cat /var/lib/fledx/cp/operator-token"),
        fleet["cp"].shell("cat /var/lib/fledx/cp/pepper"),
        json.loads(fleet["n1"].shell("cat /var/lib/fledx/agent/identity.json"))["node_token"],
        "fledx-join.",
    ]
    assert "python3" in arguments_seen["n1"]
    assert [] == [secret for secret in secrets if secret in arguments_seen["n1"]]
    patterns = "\n".join(secrets) + "\n"
    for host in fleet:
        host.shell(f"cat >/root/patterns <<'EOF'\n{patterns}EOF\nchmod 600 /root/patterns")
        journal = host.shell("journalctl --no-pager -o cat | grep -cFf /root/patterns || true")
        readable = host.shell(
            "find / -xdev -type f -perm -004 ! -path '/proc/*' ! -path '/sys/*' ! -name '*.pyz' -size -4M -print0"
            " | xargs -0 grep -lFf /root/patterns || true"
        )
        history = host.shell("cat /home/*/.*history /root/.*history 2>/dev/null | grep -cFf /root/patterns || true")
        assert ("0", "", "0") == (journal, readable, history), host.name
        host.shell("rm /root/patterns")


# A line in a unit's log that tells its key: from root's own hand, as no role writes any.
PLANT = """
printf 'MESSAGE=planted %s\nOBJECT_PID=%s\n' "$(cat {key})" "$(systemctl show {unit} -p MainPID --value)" |
    logger --journald
journalctl --sync
"""


def test_a_support_bundle_of_a_service_tells_much_and_no_secret(
    desk: Desk, fleet: Hosts, sample_in_registry: str, tmp_path: Path
) -> None:
    value = "hunter2-of-the-bundle"
    desk.does("secrets", "set", "bundled", stdin=f"{value}\n")
    flags = ("--secret-file", "/run/db=bundled", "--secret-env", "PW=bundled", "--watch-time", "0s")
    desk.does("deployments", "create", "bundled", "--image", sample_in_registry, "--mode", "global", *flags)
    roles = (
        (fleet["cp"], "cp", "/var/lib/fledx/cp/secrets.key"),
        (fleet["n1"], "agent", "/etc/fledx/agent/agent.key"),
    )
    secrets = [
        value,
        json.loads(fleet["n1"].shell("cat /var/lib/fledx/agent/identity.json"))["node_token"],
        *_lines(fleet["cp"], "/var/lib/fledx/cp/{operator-token,pepper,ca.key,server.key}"),
        *(key for host, _, file in roles for key in _lines(host, file)),
    ]

    def gone(host: Host) -> bool:
        return "" == host.docker("ps", "-aq", "--filter", "label=fledx.deployment=bundled")

    try:
        for host, role, key in roles:
            host.shell(PLANT.format(unit=f"fledx-{role}", key=key))
            texts = _bundle(host, tmp_path / f"{role}.tar.gz")
            there = {f"{role}.log", f"{role}-health.json", f"{role}-metrics.txt", "doctor.json", "settings.txt"}
            assert there <= {name for name, text in texts.items() if text}
            assert f"planted {HIDDEN}" in texts[f"{role}.log"]
            assert [] == [(name, secret) for secret in secrets for name, text in texts.items() if secret in text]
    finally:
        desk.does("deployments", "delete", "bundled", "--yes")
        desk.does("secrets", "delete", "bundled", "--yes", "--force")
        for name in NODES:
            eventually(partial(gone, fleet[name]), within=120)


def _lines(host: Host, files: str) -> list[str]:
    """Each line of these files that is long enough to be a secret; of a key in PEM, those of its body."""
    found = host.shell(f"bash -c 'grep -hv ^----- {files}'").splitlines()
    return [line for line in found if len(line) > 20]


def _bundle(host: Host, local: Path) -> dict[str, str]:
    """What `fledx support-bundle` of root packs there, by the names of the files."""
    host.shell("fledx support-bundle /root/bundle.tar.gz")
    host.get("/root/bundle.tar.gz", local)
    host.shell("rm /root/bundle.tar.gz")
    with tarfile.open(local) as archive:
        parts = {each.name: archive.extractfile(each) for each in archive}
        return {name.rpartition("/")[2]: part.read().decode() for name, part in parts.items() if part}


def test_a_host_that_was_rebooted_is_the_same_node_and_starts_its_work(desk: Desk, fleet: Hosts) -> None:
    before = desk.nodes()["n1"]["node_id"]
    fleet["n1"].reboot()
    eventually(lambda: ready(desk, "n1"), within=120)
    assert before == desk.nodes()["n1"]["node_id"]
    eventually(lambda: answers(fleet["n1"].address, PORT), within=120)


def test_fault_14_an_agent_that_is_killed_is_started_again_by_its_supervisor_and_takes_its_containers_up(
    desk: Desk, fleet: Hosts
) -> None:
    node = fleet["n1"]
    settled(node)
    running, before = lives(node), main_pid(node)
    assert running

    node.shell("systemctl kill -s KILL fledx-agent")

    eventually(lambda: main_pid(node) not in ("0", before), within=120)
    settled(node)
    eventually(lambda: ready(desk, "n1"), within=120)
    assert running == lives(node), "neither another one nor one more, and none that was started again"


def test_a_host_that_is_cut_off_works_on_and_nothing_is_restarted_when_it_is_back(desk: Desk, fleet: Hosts) -> None:
    running = eventually(lambda: containers(fleet["n1"]), within=120)
    fleet["n1"].net.cut(fleet["cp"].address)
    eventually(lambda: not ready(desk, "n1"), within=120)
    eventually(lambda: answers(fleet["n1"].address, PORT))
    fleet["n1"].net.heal()
    eventually(lambda: ready(desk, "n1"), within=120)
    assert running == containers(fleet["n1"])


def test_settings_by_hand_and_settings_by_flag_live_together(desk: Desk, fleet: Hosts) -> None:
    node = fleet["n2"]
    allowed = int(node.shell(f"cat {WATCHES}"))
    node.shell(f"printf '# mine\\nFLEDX_LOG=debug\\n{GATEWAY}\\n' >>/etc/fledx/fledx-agent.env")
    desk.does("bootstrap", "agent", "--ssh-host", "n2", "--label", "disk=ssd", "--capacity-cpu-millis", "1500")
    text = node.shell("cat /etc/fledx/fledx-agent.env")
    assert "# mine\nFLEDX_LOG=debug" in text
    eventually(lambda: desk.nodes()["n2"]["labels"] == {"disk": "ssd"})
    assert 1500 == desk.nodes()["n2"]["capacity"]["cpu_millis"]
    assert "nothing to do" in desk.does("bootstrap", "agent", "--ssh-host", "n2").out
    _the_kernel_lets_a_gateway_watch_enough(node, allowed)


WATCHES = "/proc/sys/fs/inotify/max_user_instances"
GATEWAY = "FLEDX_AGENT_GATEWAY_ENABLED=true\\nFLEDX_AGENT_GATEWAY_ENVOY_IMAGE=127.0.0.1:1/none"


def _the_kernel_lets_a_gateway_watch_enough(node: Host, before: int) -> None:
    """The machine below has it as before afterwards: all hosts of a bed share its kernel."""
    try:
        written = node.shell("cat /etc/sysctl.d/60-fledx.conf 2>/dev/null | grep -v '^#' || true")
        assert ("" if before >= 8192 else "fs.inotify.max_user_instances = 8192") == written
        assert max(before, 8192) == int(node.shell(f"cat {WATCHES}"))
    finally:
        node.shell(f"sed -i /GATEWAY/d /etc/fledx/fledx-agent.env; echo {before} >{WATCHES}")
        node.shell("systemctl restart fledx-agent")


@pytest.fixture
def late(fleet: Hosts) -> Iterator[Host]:
    """One more host with Docker, that comes when the fleet is there."""
    yield fleet.add("late")
    fleet.remove("late")


def test_a_new_host_joins_by_one_line_in_its_own_shell_and_stays(desk: Desk, late: Host) -> None:
    line = desk.does("nodes", "join-command").out.strip()
    assert "\n" not in line
    late.ssh(line)
    eventually(lambda: ready(desk, "late"))
    late.reboot()
    assert "active" == late.shell("systemctl is-active fledx-agent")
    eventually(lambda: ready(desk, "late"), within=120)

    assert "" == late.shell("ls /etc/fledx | grep join || true; ls /tmp | grep '^tmp' || true")
    late.ssh("sudo fledx bootstrap uninstall agent --local --purge --yes")
    assert "" == late.shell(EVERYTHING)
    again = late.ssh_finish(line)
    assert again.returncode != 0
    assert "unknown, used up or too old" in again.stderr
    # Whoever calls fledx as root has a cache of compiled code; of the installation nothing is left.
    assert "" == late.shell(EVERYTHING + " | grep -v '^/var/cache/fledx' || true")


def test_a_node_runs_the_version_of_its_control_plane_whoever_installs_it(
    desk: Desk, late: Host, fleet: Hosts, tmp_path: Path
) -> None:
    newer = rebuilt(desk.pyz, tmp_path / "fledx.pyz", version="9.9.2")
    desk.known_hosts.unlink()
    desk.does("bootstrap", "agent", "--ssh-host", "late", "--name", "later", pyz=newer)
    eventually(lambda: len({desk.nodes()[name]["agent_version"] for name in ("n1", "later")}) == 1)
    assert fleet["cp"].shell("readlink /usr/local/bin/fledx") == late.shell("readlink /usr/local/bin/fledx")


def test_another_version_is_put_beside_the_old_one_and_going_back_is_one_command(
    desk: Desk, fleet: Hosts, tmp_path: Path
) -> None:
    newer = rebuilt(desk.pyz, tmp_path / "fledx.pyz", version="9.9.0")
    running = eventually(lambda: containers(fleet["n1"]), within=120)
    every = ("--ssh-host", "cp", "--ssh-host", "n1", "--ssh-host", "n2")
    desk.does("bootstrap", "upgrade", *every, pyz=newer)
    eventually(lambda: {"9.9.0"} == versions(desk))
    assert "nothing to do" in desk.does("bootstrap", "upgrade", *every, pyz=newer).out

    desk.does("bootstrap", "upgrade", "--back", *every)
    eventually(lambda: "9.9.0" not in versions(desk))
    assert running == containers(fleet["n1"])
    told = desk.does("bootstrap", "status", "--ssh-host", "n1", "--json").facts()[0]
    assert "9.9.0" in told["previous"]


def test_a_version_that_does_not_start_is_taken_back_by_itself(desk: Desk, fleet: Hosts, tmp_path: Path) -> None:
    broken = rebuilt(desk.pyz, tmp_path / "broken.pyz", version="9.9.1", broken=True)
    before = fleet["n1"].shell("readlink /usr/local/bin/fledx; cat /etc/systemd/system/fledx-agent.service")
    ended = desk.run("bootstrap", "upgrade", "--ssh-host", "n1", "--version", str(broken))
    assert 1 == ended.code
    assert "this build is broken" in ended.err
    assert "what had been done was undone" in ended.err
    assert before == fleet["n1"].shell("readlink /usr/local/bin/fledx; cat /etc/systemd/system/fledx-agent.service")
    eventually(lambda: ready(desk, "n1"))


def test_a_node_is_taken_away_without_a_trace_and_comes_back_as_a_new_one(desk: Desk, fleet: Hosts) -> None:
    before = desk.nodes()["n2"]["node_id"]
    ended = desk.does("bootstrap", "uninstall", "agent", "--ssh-host", "n2", "--purge", "--yes")
    assert "" == fleet["n2"].shell(EVERYTHING)
    assert "" == fleet["n2"].shell("getent passwd fledx-agent || true; getent group fledx-agent || true")
    assert "" == containers(fleet["n2"])
    assert "nothing to do" in desk.does("bootstrap", "uninstall", "agent", "--ssh-host", "n2", "--purge", "--yes").out
    assert "the control plane has forgotten its node" in ended.out
    assert "n2" not in desk.nodes()
    desk.does("bootstrap", "agent", "--ssh-host", "n2")
    assert before != desk.nodes()["n2"]["node_id"]


def test_without_purge_a_control_plane_comes_back_with_all_it_knew(desk: Desk, fleet: Hosts) -> None:
    desk.does("bootstrap", "uninstall", "cp", "--ssh-host", "cp", "--yes")
    assert "" == fleet["cp"].shell("ls /usr/local/bin /etc/systemd/system | grep fledx || true")
    told = desk.does("bootstrap", "status", "--ssh-host", "cp", "--json").facts()[0]
    assert (["/var/lib/fledx/cp"], {}) == (told["kept"], told["roles"])
    desk.does("bootstrap", "cp", "--cp-hostname", fleet["cp"].address, "--ssh-host", "ops@cp")
    eventually(lambda: ready(desk, "n1"), within=120)
    assert "nginx-demo" in desk.does("deployments", "list").out
