"""The beds are what they promise: everything that later tests trust in is shown here once."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.commands import CommandFailed, run
from tests.bed.engine import Engine
from tests.bed.engines import Engines
from tests.bed.host import Host
from tests.bed.hosts import Hosts, Shape
from tests.bed.images import TRIXIE
from tests.bed.registry import PASSWORD, USER
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
PORT = 8080


def fetch(address: str, *, path: str = "/", timeout: float = 60.0) -> str:
    connection = http.client.HTTPConnection(address, PORT, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def reaches(one: Engine | Host, other: Engine | Host) -> bool:
    """Whether a program on one machine gets an answer from the app of the other."""
    script = f"curl -s -o /dev/null -m 0.5 http://{other.address}:{PORT}/healthz && echo yes || echo no"
    return one.shell(script) == "yes"


def reach(one: Engine | Host, other: Engine | Host) -> bool:
    """Wait until they reach each other: a busy machine may be late to answer."""
    return eventually(lambda: both_ways(one, other) == (True, True))


def both_ways(one: Engine | Host, other: Engine | Host) -> tuple[bool, bool]:
    return reaches(one, other), reaches(other, one)


def time_to_answer(one: Engine | Host, other: Engine | Host) -> float:
    script = f"curl -s -o /dev/null -m 60 -w '%{{time_total}}' http://{other.address}:{PORT}/healthz"
    return float(one.shell(script))


@pytest.mark.docker
class TestEngines:
    @pytest.fixture
    def apps(self, engines: Engines) -> Engines:
        """The sample app on every engine."""
        for engine in engines:
            engine.docker("run", "-d", "--name", "app", "-p", f"{PORT}:{PORT}", "fledx-sample:1")
        for engine in engines:
            eventually(lambda engine=engine: fetch(engine.address))  # type: ignore[misc]
        return engines

    def test_engines_differ_and_their_ports_do_not_meet(self, apps: Engines) -> None:
        assert len({fetch(engine.address) for engine in apps}) == 3
        assert len({engine.docker("info", "--format", "{{.ID}}") for engine in apps}) == 3

    def test_a_container_dies_of_more_memory_than_its_limit(self, engines: Engines) -> None:
        eater = "import time; block = b'x' * (64 << 20); time.sleep(60)"
        words = ["run", "--rm", "--memory", "20m", "--entrypoint", "python3", "fledx-sample:1", "-c", eater]
        with pytest.raises(CommandFailed, match="ended with 137"):
            engines["e1"].docker(*words)

    def test_a_process_beside_an_engine_has_its_docker_and_its_address(self, engines: Engines) -> None:
        one, two, _ = engines
        server = one.spawn(sys.executable, "-m", "http.server", str(PORT), "--directory", ROOT / "tests/bed/host")
        try:
            assert "sshd.conf" in eventually(lambda: fetch(one.address))
            with pytest.raises(OSError, match="refused"):
                fetch(two.address)
        finally:
            server.kill()
            server.wait()
        assert one.shell("docker info --format '{{.ID}}'") == one.docker("info", "--format", "{{.ID}}")

    def test_what_is_mounted_here_later_is_seen_by_containers(self, engines: Engines, tmp_path: Path) -> None:
        one = engines["e1"]
        run("mount", "-t", "tmpfs", "tmpfs", tmp_path)
        try:
            (tmp_path / "secret").write_text("seen")
            words = ["run", "--rm", "-v", f"{tmp_path}:/here", "--entrypoint", "cat", "fledx-sample:1", "/here/secret"]
            assert one.docker(*words) == "seen"
        finally:
            run("umount", tmp_path)

    def test_engines_that_are_cut_apart_reach_the_others_until_healed(self, apps: Engines) -> None:
        one, two, three = apps
        one.net.cut(two.address)
        assert both_ways(one, two) == (False, False)
        assert reach(one, three)
        one.net.isolate()
        with pytest.raises(OSError, match="timed out"):
            fetch(one.address, timeout=0.5)
        one.net.heal()
        assert reach(one, two)

    def test_a_pulled_cable_cuts_both_ways_until_it_is_plugged_in(self, apps: Engines) -> None:
        one, two, _ = apps
        one.net.unplug()
        assert both_ways(one, two) == (False, False)
        one.net.plug()
        assert reach(one, two)

    def test_a_line_is_as_late_and_as_slow_as_it_is_told(self, apps: Engines) -> None:
        one, two, _ = apps
        one.net.delay(0.1)
        assert 0.2 <= time_to_answer(one, two)
        eventually(lambda: 0.2 <= time_to_answer(one, two) < 1.0)
        one.net.heal()
        eventually(lambda: time_to_answer(one, two) < 0.1)
        one.net.rate(1_000_000)
        began = time.monotonic()
        fetch(one.address, path="/stream?bytes=100000")
        assert time.monotonic() - began > 0.4

    def test_an_engine_hangs_dies_and_comes_back(self, apps: Engines) -> None:
        one = apps["e1"]
        one.freeze()
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(0.3)
            asked.connect(one.docker_host.removeprefix("unix://"))
            asked.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            with pytest.raises(TimeoutError):
                asked.recv(1)
        one.thaw()
        assert one.docker("ps", "-q")
        one.kill()
        with pytest.raises(CommandFailed, match="Is the docker daemon running"):
            one.docker("ps")
        assert fetch(one.address), "containers live without their engine"
        one.start()
        assert one.docker("ps", "-aq")
        one.restart()
        assert one.docker("ps", "-aq")

    def test_a_reset_engine_is_as_new(self, apps: Engines) -> None:
        one = apps["e1"]
        one.docker("network", "create", "extra")
        one.kill()
        one.net.isolate()
        one.reset()
        assert one.docker("ps", "-aq") == ""
        assert "extra" not in one.docker("network", "ls")
        assert "fledx-sample:1" in one.docker("images", "--format", "{{.Repository}}:{{.Tag}}")

    def test_beds_coexist_and_one_whose_process_was_killed_is_removed(self, engines: Engines) -> None:
        script = "from tests.bed.engines import Engines\nbed = Engines.up(1)\nprint(bed.prefix, flush=True)\ninput()"
        other = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdin is not None
        assert other.stdout is not None
        prefix = other.stdout.readline().strip()
        assert prefix != engines.prefix
        assert prefix in run("ip", "netns")
        os.kill(other.pid, signal.SIGKILL)
        other.communicate()
        eventually(lambda: prefix not in run("ip", "netns") + run("ip", "link"))
        assert engines["e1"].docker("info")


@pytest.fixture(scope="module")
def bare(hosts_of_session: Hosts) -> None:
    """What other files installed on the hosts is gone."""
    hosts_of_session.renew("cp", "n1", "n2")


@pytest.mark.bed
@pytest.mark.usefixtures("bare")
class TestHosts:
    @pytest.fixture
    def apps(self, hosts: Hosts, sample_in_registry: str) -> Iterator[Hosts]:
        """The sample app, pulled from the registry, on every host."""
        for host in hosts:
            host.docker("run", "-d", "--name", "app", "-p", f"{PORT}:{PORT}", sample_in_registry)
        for host in hosts:
            eventually(lambda host=host: fetch(host.address))  # type: ignore[misc]
        yield hosts
        hosts.restore()
        for host in hosts:
            host.docker("rm", "-fv", "app")

    def test_each_user_of_a_host_gets_to_root_its_own_way_or_not_at_all(self, hosts: Hosts) -> None:
        host = hosts["n1"]
        assert host.ssh("sudo -n id -un") == "root"
        assert host.ssh("id -un", user="root") == "root"
        assert host.ssh("sudo -S -p '' id -un", user="deploy", stdin="deploy-pw\n") == "root"
        assert host.ssh_finish("sudo -S -p '' id -un", user="deploy", stdin="guess\n").returncode != 0
        assert host.ssh_finish("sudo -n id -un", user="deploy").returncode != 0
        assert host.ssh_finish("sudo -n id -un", user="plain").returncode != 0

    def test_hosts_have_identities_of_their_own(self, hosts: Hosts) -> None:
        for command in ("cat /etc/machine-id", "hostname", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
            assert len({host.ssh(command) for host in hosts}) == 3

    def test_units_are_restarted_and_survive_a_loss_of_power(self, hosts: Hosts) -> None:
        host = hosts["n1"]
        unit = (
            "[Service]\nDynamicUser=yes\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=0.1\n"
            "StateDirectory=patient\nMemoryMax=50M\nProtectSystem=strict\nNoNewPrivileges=yes\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )
        host.ssh("sudo tee /etc/systemd/system/patient.service", stdin=unit)
        host.ssh("sudo systemctl daemon-reload && sudo systemctl enable --now patient")
        first = host.ssh("systemctl show -p MainPID --value patient")
        host.ssh(f"sudo kill -9 {first}")
        eventually(lambda: host.ssh("systemctl show -p MainPID --value patient") not in ("0", first))
        host.kill()
        host.start()
        assert host.ssh("systemctl is-active patient") == "active"
        assert "Started" in host.ssh("sudo journalctl -u patient --no-pager")

    def test_a_pulled_workload_runs_within_its_limits(self, apps: Hosts) -> None:
        host = apps["n2"]
        assert "version: 1\n" in fetch(host.address)
        host.docker("update", "--memory", "48m", "--memory-swap", "48m", "app")
        assert host.docker("exec", "app", "cat", "/proc/1/cgroup")
        assert host.docker("inspect", "-f", "{{.HostConfig.Memory}}", "app") == str(48 << 20)

    def test_a_host_that_lost_its_power_has_its_data_and_identity(self, apps: Hosts) -> None:
        host = apps["n1"]
        identity = host.ssh("cat /etc/machine-id")
        host.shell("echo precious > /var/lib/data")
        host.kill()
        with pytest.raises(OSError, match=r"timed out|No route"):
            fetch(host.address, timeout=0.5)
        host.start()
        assert host.ssh("cat /etc/machine-id /var/lib/data") == f"{identity}\nprecious"
        host.docker("start", "app")
        assert eventually(lambda: fetch(host.address))

    def test_hosts_that_are_cut_off_or_isolated_are_still_managed(self, apps: Hosts) -> None:
        one, two, cp = apps["n1"], apps["n2"], apps["cp"]
        one.net.cut(two.address)
        assert both_ways(one, two) == (False, False)
        assert reach(one, cp)
        assert one.ssh("echo still here") == "still here"
        one.net.isolate()
        assert both_ways(one, cp) == (False, False)
        assert one.ssh("echo still here") == "still here"
        one.net.heal()
        assert reach(one, two)

    def test_containers_are_cut_off_like_their_host(self, apps: Hosts) -> None:
        one, two = apps["n1"], apps["n2"]

        def ask(seconds: int) -> None:
            script = f"import urllib.request as u; u.urlopen('http://{two.address}:{PORT}', timeout={seconds})"
            one.docker("exec", "app", "python3", "-c", script)

        ask(60)
        one.net.cut(two.address)
        with pytest.raises(CommandFailed):
            ask(1)

    def test_a_hosts_line_can_be_unplugged_late_and_lossy(self, apps: Hosts) -> None:
        one, two = apps["n1"], apps["n2"]
        one.net.unplug()
        assert not reaches(one, two)
        one.net.plug()
        eventually(lambda: reaches(one, two))
        one.net.delay(0.1, jitter=0.02)
        eventually(lambda: 0.16 <= time_to_answer(one, two) < 1.0)
        one.net.heal()
        one.net.loss(0.5)
        counted = one.shell(f"ping -q -c 100 -i 0.01 -W 1 {two.address}", check=False)
        lost = float(counted.partition("% packet loss")[0].rpartition(" ")[2])
        assert 50 < lost < 95, "three of four: half of the questions, half of the answers"
        one.net.heal()
        assert " 0% packet loss" in one.shell(f"ping -q -c 20 -i 0.01 -W 10 {two.address}")

    def test_a_frozen_host_connects_but_does_not_answer(self, apps: Hosts) -> None:
        host = apps["n2"]
        host.pause()
        with socket.create_connection((host.address, PORT), timeout=30) as opened:
            opened.settimeout(0.3)
            opened.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(TimeoutError):
                opened.recv(1)
        host.resume()
        assert eventually(lambda: fetch(host.address))

    def test_an_orderly_shutdown_lets_workloads_end(self, apps: Hosts) -> None:
        host = apps["n1"]
        host.reboot()
        assert "ending on SIGTERM" in host.shell("docker logs app")

    def test_a_renewed_host_is_bare_and_another(self, hosts: Hosts) -> None:
        before = hosts["n2"].ssh("cat /etc/machine-id; touch left-over")
        hosts.renew("n2")
        assert hosts["n2"].ssh("cat /etc/machine-id; ls left-over 2>/dev/null || true") != before
        assert hosts["n2"].docker("images", "-q") == ""

    def test_a_small_disk_fills_up(self, hosts: Hosts, sample_in_registry: str) -> None:
        host = hosts.add("small", Shape(disk="60m", memory="300m"))
        try:
            with pytest.raises(CommandFailed, match="no space left on device"):
                host.docker("pull", sample_in_registry)
            assert host.docker("version")
        finally:
            hosts.remove("small")

    def test_a_registry_with_a_password_gives_only_to_who_is_logged_in(
        self, hosts: Hosts, sample_in_registry: str
    ) -> None:
        hosts.up(2, private=True)
        image = hosts.private.push("fledx-sample:1")
        host = hosts["n1"]
        with pytest.raises(CommandFailed, match="no basic auth credentials"):
            host.docker("pull", image)
        host.ssh(f"sudo docker login -u {USER} --password-stdin private:5000", stdin=PASSWORD)
        host.ssh(f"sudo docker pull -q {image}")

    def test_a_fresh_host_has_python_and_git_and_can_get_the_rest(self, fresh_host: Host) -> None:
        assert fresh_host.ssh("python3 -c 'import sys; print(sys.version_info >= (3, 10))'") == "True"
        assert fresh_host.ssh("git --version")
        assert fresh_host.ssh("command -v docker pip pip3 || true") == ""
        assert fresh_host.ssh_finish("python3 -m venv /tmp/venv").returncode != 0
        fresh_host.ssh("sudo apt-get -qq update && sudo apt-get install -y -qq docker.io", timeout=600)
        assert fresh_host.ssh("sudo docker info --format '{{.Driver}}'") == "overlay2"

    @pytest.mark.slow
    def test_a_host_of_debian_13_stands_beside_those_of_debian_12(self, hosts: Hosts, sample_in_registry: str) -> None:
        newer = hosts.add("newer", Shape(suite=TRIXIE))
        try:
            assert newer.ssh("cut -d. -f1 /etc/debian_version") == "13"
            newer.docker("run", "-d", "-p", f"{PORT}:{PORT}", sample_in_registry)
            assert eventually(lambda: fetch(newer.address))
            assert reach(newer, newer)
        finally:
            hosts.remove("newer")
