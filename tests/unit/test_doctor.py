"""What the doctor finds, and that a bundle tells no secret."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fledx.bootstrap.layout import Layout
from fledx.bootstrap.systemd import UnitWish, unit_text
from fledx.doctor.bundle import HIDDEN, Veil, secrets_known
from fledx.doctor.facts import Disk, Engine, File, Finding, MachineFacts, RoleFacts, Talk
from fledx.doctor.installed import settings_of
from fledx.doctor.judge import judged
from fledx.doctor.network import engine_at, tried
from fledx.doctor.run import examine, pack
from fledx.settings.agent import AgentSettings
from tests.ports import free_port
from tests.unit.cli.harness import Cli

NOW = 1_764_072_000.0
GIB = 2**30
AGENT = RoleFacts(role="agent", directory="/var/lib/fledx/agent")
CONTROL_PLANE = RoleFacts(role="cp", directory="/var/lib/fledx/cp", backup=NOW - 3600)


def found(role: RoleFacts, **machine: Any) -> dict[str, Finding]:
    """What is not well, by the name of the check."""
    facts = MachineFacts(now=NOW, user=0, version="1.0", python="3.11", roles=(role,), **machine)
    return {each.check: each for each in judged(facts) if each.level != "ok"}


def test_a_machine_that_is_well_is_called_so() -> None:
    well = replace(
        AGENT,
        unit="active",
        files=(File(path="/x", mode=0o600),),
        disks=(Disk(what="containers", path="/", free=50 * GIB, total=100 * GIB),),
        talks=(Talk(what="tunnel", where="cp:7443", ends=NOW + 80 * 86400, version="1.0", skew=0.2),),
        engine=Engine(address="unix:///s", version="20.10.24+dfsg1", api=(1, 41)),
        watches=8192,
    )
    assert found(well, synchronised=True) == {}
    assert found(CONTROL_PLANE) == {}


@pytest.mark.parametrize(
    ("role", "check", "level", "word"),
    [
        (replace(AGENT, unit="failed"), "service", "bad", "journalctl -u fledx-agent"),
        (replace(AGENT, files=(File(path="/k", mode=0o644),)), "files", "bad", "chmod go-rwx /k"),
        (replace(AGENT, files=(File(path="/k", mode=None),)), "files", "bad", "restore"),
        (
            replace(AGENT, disks=(Disk(what="containers", path="/d", free=1, total=GIB),)),
            "disk",
            "bad",
            "docker system",
        ),
        (replace(AGENT, disks=(Disk(what="x", path="/d", free=GIB, total=99 * GIB),)), "disk", "warn", "du -xh /d"),
        (
            replace(AGENT, talks=(Talk(what="tunnel", where="cp:1", kind="name", problem="?"),)),
            "tunnel",
            "bad",
            "resolv",
        ),
        (
            replace(AGENT, talks=(Talk(what="t", where="[::1]:7", kind="connect", problem="?"),)),
            "t",
            "bad",
            "nc -vz ::1 7",
        ),
        (replace(AGENT, talks=(Talk(what="t", where="cp:1", ends=NOW + 86400),)), "certificate", "warn", "renews"),
        (replace(AGENT, talks=(Talk(what="t", where="cp:1", version="0.9"),)), "versions", "warn", "upgrade"),
        (replace(AGENT, talks=(Talk(what="t", where="cp:1", skew=-30.0),)), "clock", "warn", "set-ntp"),
        (replace(AGENT, talks=(Talk(what="t", where="cp:1", skew=400.0),)), "clock", "bad", "set-ntp"),
        (replace(AGENT, engine=Engine(address="a", problem="refused")), "engine", "bad", "group docker"),
        (replace(AGENT, engine=Engine(address="a", version="19.03.15", api=(1, 40))), "engine", "bad", "upgrade"),
        (replace(AGENT, watches=128), "gateway", "warn", "fledx bootstrap agent"),
        (replace(AGENT, health=("engine away",)), "health", "bad", "journalctl"),
        (replace(AGENT, broken=("FLEDX_AGENT_X: 'a' is no number",)), "settings", "bad", "--help"),
        (replace(CONTROL_PLANE, database="it is damaged"), "database", "bad", "fledx cp restore"),
        (replace(CONTROL_PLANE, backup=None), "backup", "warn", "fledx cp backup"),
        (replace(CONTROL_PLANE, backup=NOW - 3 * 86400), "backup", "warn", "fledx cp backup"),
    ],
)
def test_each_fault_is_told_with_what_mends_it(role: RoleFacts, check: str, level: str, word: str) -> None:
    told = found(role)[check]
    assert told.level == level
    assert word in (told.mend or "")


@contextmanager
def answering(answer: bytes | None, *, family: socket.AddressFamily = socket.AF_INET, at: Any = None) -> Iterator[Any]:
    """Something that takes connections and gives each the same answer, or none."""
    with socket.socket(family) as listener:
        listener.bind(at or ("127.0.0.1", 0))
        listener.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                held.append(client)
                if answer is not None:
                    client.recv(4096)
                    client.sendall(answer)
                    client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for each in held:
                each.close()


def test_a_port_is_tried_for_real() -> None:
    good = b'HTTP/1.0 200 OK\r\nDate: Wed, 01 Jan 2020 00:00:00 GMT\r\n\r\n{"version": "7"}'
    with answering(good) as (host, port):
        talk = tried("API", host, port, tls=False, path="/health")
    assert (talk.problem, talk.version) == (None, "7")
    assert talk.skew is not None
    assert talk.skew > 86400
    for answer, kind in (
        (b"HTTP/1.0 401 No\r\n\r\n", "token"),
        (b"HTTP/1.0 503 No\r\n\r\n", "answer"),
        (b"hello\r\n", "answer"),
    ):
        with answering(answer) as (host, port):
            assert tried("API", host, port, tls=False, path="/health").kind == kind
    with answering(b"hello\r\n") as (host, port):
        assert tried("API", host, port, tls=True).kind in ("answer", "connect")
    assert tried("API", "127.0.0.1", free_port(), tls=False).kind == "connect"
    assert tried("API", "no-such-host.invalid", 1, tls=False).kind == "name"


def engine_finding(told: Any) -> Finding:
    """What is found of an engine that answers to /version with this."""
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(told).encode()) as (host, port):
        engine = replace(engine_at(f"tcp://{host}:{port}"), address="a")
    facts = MachineFacts(now=NOW, user=0, version="1.0", python="3.11", roles=(replace(AGENT, engine=engine),))
    (said,) = [each for each in judged(facts) if each.check == "engine"]
    return said


@pytest.mark.parametrize(
    ("name", "version", "api", "level", "text"),
    [
        ("Podman Engine", "4.3.1", "1.41", "ok", "a is Podman Engine 4.3.1 (API 1.41)"),
        ("Engine", "20.10.24+dfsg1", "1.41", "ok", "a is docker 20.10.24+dfsg1 (API 1.41)"),
        ("Engine", "29.1.0", "1.52", "ok", "a is docker 29.1.0 (API 1.52)"),
        ("Engine", "19.03.15", "1.40", "bad", "a is docker 19.03.15 (API 1.40), which is too old"),
        (None, "19.03.15", "1.40", "bad", "a is docker 19.03.15 (API 1.40), which is too old"),
    ],
)
def test_an_engine_is_judged_by_the_api_that_it_speaks_and_called_by_its_name(
    name: str | None, version: str, api: str, level: str, text: str
) -> None:
    """As the agent does: Podman's own number says nothing of what it can do."""
    components = [{"Name": name}, {"Name": "containerd"}] if name else None
    said = engine_finding({"Version": version, "ApiVersion": api, "Components": components})
    assert (level, text) == (said.level, said.text)
    assert (said.mend is None) == (level == "ok")
    assert said.mend is None or "upgrade its package: fledx needs API 1.41 (Docker 20.10) or newer" == said.mend


@pytest.mark.parametrize("told", [[], {}, {"Version": "1"}, {"Version": "1", "ApiVersion": 1}, {"Components": [7]}])
def test_what_answers_like_no_engine_is_told_as_such(told: Any) -> None:
    said = engine_finding(told)
    assert ("bad", "a: what answers there is no container engine") == (said.level, said.text)


def test_an_engine_is_asked_at_its_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "d.sock")
    with answering(
        b'HTTP/1.0 200 OK\r\n\r\n{"Version": "24.0.7", "ApiVersion": "1.43"}', family=socket.AF_UNIX, at=path
    ):
        found = engine_at(f"unix://{path}")
    assert ("docker", "24.0.7", (1, 43)) == (found.name, found.version, found.api)
    assert "No such file" in str(engine_at(f"unix://{tmp_path}/none").problem)


def home(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), **more}


def test_a_directory_of_a_control_plane_is_looked_at(tmp_path: Path) -> None:
    directory = tmp_path / "state/fledx/cp"
    directory.mkdir(parents=True, mode=0o700)
    (directory / "fledx.db").write_bytes(b"this is no database" * 100)
    (directory / "fledx.db").chmod(0o600)
    (directory / "secrets.key").write_bytes(b"x")
    (directory / "secrets.key").chmod(0o640)
    port = str(free_port())
    environ = home(tmp_path, FLEDX_CP_SERVER_PORT=port, FLEDX_CP_TUNNEL_ADVERTISED_PORT=port)

    wrong = {each.check: each for each in examine(environ, role="cp", operator=None) if each.level != "ok"}

    assert "not an SQLite database" in wrong["database"].text
    assert "secrets.key is open to others (mode 0640)" in wrong["files"].text
    assert "Connection refused" in wrong["API"].text
    assert wrong["backup"].level == "warn"


def service(tmp_path: Path, role: str, env: str, *, more: str = "", etc: str = "etc") -> Path:
    """A machine on which bootstrap has put a role into directories that somebody chose; its /etc."""
    config, data, units = tmp_path / "config", tmp_path / "data", tmp_path / etc / "systemd/system"
    for directory in (config, data / role, units):
        directory.mkdir(parents=True)
    layout = Layout(config_dir=str(config), data_dir=str(data))
    (units / f"fledx-{role}.service").write_text(unit_text(UnitWish(role=role, layout=layout)) + more)  # type: ignore[arg-type]
    (config / f"fledx-{role}.env").write_text(env)
    return tmp_path / etc


def looked_at(tmp_path: Path, role: str, etc: Path, **environ: str) -> dict[str, Finding]:
    """What was found by name, the last of a name."""
    return {each.check: each for each in examine(home(tmp_path, **environ), role=role, operator=None, etc=etc)}


def test_a_service_is_judged_by_the_settings_that_it_has(tmp_path: Path) -> None:
    """Nobody who looks has them in his environment; the usual ports are somebody else's."""
    answer = b'HTTP/1.0 200 OK\r\n\r\n{"version": "7"}'
    with answering(answer) as (_, port), answering(b"") as (_, tunnel):
        env = f"""FLEDX_CP_SERVER_PORT="{port}"\nFLEDX_CP_TUNNEL_ADVERTISED_PORT={tunnel}\n"""
        more = "FLEDX_CP_SERVER_TLS=false\nFLEDX_CP_TUNNEL_USE_TLS=false\n"
        etc = service(tmp_path, "cp", f"{env}{more}FLEDX_CP_DATA_DIR={tmp_path}/data/cp\n")
        found = looked_at(tmp_path, "cp", etc)

    assert ("ok", f"localhost:{port} answers") == (found["API"].level, found["API"].text)
    assert ("ok", f"localhost:{tunnel} answers") == (found["tunnel"].level, found["tunnel"].text)
    assert ("ok", f"read from {tmp_path}/config/fledx-cp.env") == (found["settings"].level, found["settings"].text)
    assert f"{tmp_path}/data/cp/fledx.db is missing" == found["files"].text


def test_what_stands_in_ones_own_environment_counts_and_is_told(tmp_path: Path) -> None:
    etc = service(tmp_path, "cp", "FLEDX_CP_SERVER_PORT=1\nFLEDX_CP_SERVER_TLS=false\nFLEDX_CP_TUNNEL_USE_TLS=false\n")
    with answering(b'HTTP/1.0 200 OK\r\n\r\n{"version": "7"}') as (_, port):
        found = looked_at(tmp_path, "cp", etc, FLEDX_CP_SERVER_PORT=str(port), FLEDX_AGENT_NAME="edge-1")

    assert f"localhost:{port} answers" == found["API"].text
    where = f"read from {tmp_path}/config/fledx-cp.env; from your own environment FLEDX_CP_SERVER_PORT"
    assert where == found["settings"].text


def test_drop_ins_of_a_service_count_as_systemd_counts_them(tmp_path: Path) -> None:
    etc = service(tmp_path, "agent", "FLEDX_AGENT_HEALTH_PORT=1\n")
    drop_ins = etc / "systemd/system/fledx-agent.service.d"
    drop_ins.mkdir()
    (tmp_path / "own.env").write_text("FLEDX_AGENT_NAME=own\n")
    (drop_ins / "10-own.conf").write_text(
        f"[Service]\n# EnvironmentFile=/no\nEnvironmentFile=\nEnvironmentFile={tmp_path}/own.env\n"
        'Environment="FLEDX_AGENT_LABELS=a=b" \\\n  FLEDX_AGENT_NAME=theirs\n'
    )
    found = settings_of("agent", AgentSettings, {}, etc)

    assert ((f"{tmp_path}/own.env",), ()) == (found.sources, found.hidden)
    assert found.settings is not None
    assert ("own", {"a": "b"}) == (found.settings.name, found.settings.labels)
    assert AgentSettings().health_port == found.settings.health_port
    assert tmp_path / "data/agent" == found.installed.data


def test_a_machine_without_a_service_is_judged_by_what_stands_where_bootstrap_would_put_it(tmp_path: Path) -> None:
    (tmp_path / "etc/fledx").mkdir(parents=True)
    (tmp_path / "state/fledx/cp").mkdir(parents=True)
    assert "no file and no variable" in looked_at(tmp_path, "cp", tmp_path / "etc")["settings"].text
    port = free_port()
    (tmp_path / "etc/fledx/fledx-cp.env").write_text(f"FLEDX_CP_SERVER_PORT={port}\n")
    found = looked_at(tmp_path, "cp", tmp_path / "etc")
    assert f"read from {tmp_path}/etc/fledx/fledx-cp.env" == found["settings"].text
    assert found["API"].text.startswith(f"localhost:{port}: ")


@pytest.mark.parametrize("role", ["cp", "agent"])
def test_settings_that_one_may_not_read_are_not_guessed(tmp_path: Path, role: str) -> None:
    """They are root's: neither are the usual ports tried, nor is anything called well that was not seen."""
    etc = service(tmp_path, role, "")
    env = tmp_path / f"config/fledx-{role}.env"
    env.unlink()
    env.mkdir()  # nobody can read that, root neither
    told = examine(home(tmp_path), role=role, operator=None, etc=etc)

    (settings,) = [each for each in told if each.check == "settings"]
    assert ("warn", "run it again with sudo") == (settings.level, settings.mend)
    assert settings.text.startswith(f"{env} may not be read by you")
    assert not {"API", "tunnel", "engine", "health", "rights"} & {each.check for each in told}
    assert any(each.check == "disk" and each.text.endswith(f"({tmp_path}/data/{role})") for each in told)


def test_a_directory_that_one_may_not_read_is_not_called_well() -> None:
    facts = MachineFacts(
        now=NOW, user=1000, version="1", python="3", roles=(CONTROL_PLANE,), unreadable=("/var/lib/fledx/cp",)
    )
    assert {"rights", "settings"} == {each.check for each in judged(facts)}


def test_who_asks_for_a_role_that_is_not_here_is_told_so(tmp_path: Path) -> None:
    (told,) = [each for each in examine(home(tmp_path), role="agent", operator=None) if each.level == "bad"]
    assert "no agent has its state on this machine" in told.text


def texts_of(bundle: Path) -> dict[str, str]:
    """What is in it, by the names of its files."""
    with tarfile.open(bundle) as archive:
        parts = {each.name: archive.extractfile(each) for each in archive}
        return {name.rpartition("/")[2]: io.TextIOWrapper(part).read() for name, part in parts.items() if part}


def test_a_bundle_holds_what_helps_and_no_secret(tmp_path: Path) -> None:
    planted = {
        "FLEDX_AGENT_NODE_TOKEN": "node-token-4711",
        "FLEDX_CP_OPERATOR_TOKENS": "first-op-token,second-op-token",
        "FLEDX_CP_TOKENS_PEPPER": "pepper-4711",
        "FLEDX_CLI_OPERATOR_TOKEN": "cli-token-4711",
        "FLEDX_SECRET_DB": "database-password",
        "FLEDX_AGENT_NAME": "edge-1",
    }
    directory = tmp_path / "state/fledx/cp"
    directory.mkdir(parents=True)
    (directory / "operator-token").write_text("made-operator-token\n")
    operator = {"broken": "the token cli-token-4711 and made-operator-token are no good; Bearer abcdefgh"}

    pack(home(tmp_path, **planted), tmp_path / "b.tar.gz", operator=operator)

    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    texts = texts_of(tmp_path / "b.tar.gz")
    whole = "\n".join(texts.values())
    assert "FLEDX_AGENT_NAME=edge-1" in texts["settings.txt"]
    assert f"FLEDX_SECRET_DB={HIDDEN}" in texts["settings.txt"]
    assert json.loads(texts["machine.json"])["roles"] == ["cp", "operator"]
    for secret in ("4711", "op-token", "database-password", "made-operator-token", "abcdefgh"):
        assert secret not in whole, secret


def test_a_bundle_has_the_pages_from_where_the_settings_put_them(tmp_path: Path) -> None:
    shown = {"cp": b'{"status": "of cp"}', "health": b'{"status": "of agent"}', "metrics": b"fledx_agent_up 1"}
    with contextlib.ExitStack() as stack:
        answers = {name: b"HTTP/1.0 200 OK\r\n\r\n" + body for name, body in shown.items()}
        ports = {name: str(stack.enter_context(answering(answer))[1]) for name, answer in answers.items()}
        environ = home(
            tmp_path,
            FLEDX_CP_SERVER_PORT=ports["cp"],
            FLEDX_AGENT_HEALTH_PORT=ports["health"],
            FLEDX_AGENT_METRICS_HOST="localhost",
            FLEDX_AGENT_METRICS_PORT=ports["metrics"],
        )
        pack(environ, tmp_path / "b.tar.gz", operator=None)
        off = {**environ, "FLEDX_AGENT_HEALTH_PORT": "0", "FLEDX_AGENT_METRICS_PORT": "0"}
        pack(off, tmp_path / "off.tar.gz", operator=None)

    texts = texts_of(tmp_path / "b.tar.gz")
    assert texts["cp-health.json"] == texts["cp-metrics.txt"] == shown["cp"].decode()
    assert (texts["agent-health.json"], texts["agent-metrics.txt"]) == (
        shown["health"].decode(),
        shown["metrics"].decode(),
    )
    assert not {"agent-health.json", "agent-metrics.txt"} & set(texts_of(tmp_path / "off.tar.gz"))


def test_the_key_of_an_agent_is_known_to_the_veil_where_a_service_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "agent.key").write_text("4711" * 16 + "\n")
    role = replace(AGENT, files=(File(path=str(tmp_path / "agent.key"), mode=0o600), File(path="/x", mode=0o600)))
    facts = MachineFacts(now=NOW, user=0, version="1.0", python="3.11", roles=(role,))
    assert "4711" * 16 in set(secrets_known({}, facts))


def test_the_veil_hides_what_only_looks_like_a_secret() -> None:
    veil = Veil(["known-secret"])
    for text in (
        "a known-secret b",
        "join with fledx-join.eyJh.xyz",
        "authorization: Bearer eyJhbGciOi",
        'DB_PASSWORD="hunter22"',
        "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----",
    ):
        assert HIDDEN in veil.over(text)
        assert not {"known-secret", "eyJh", "hunter22", "MHcC"} & set(re_words(veil.over(text)))
    assert veil.over("node edge-1 is ready") == "node edge-1 is ready"


def re_words(text: str) -> list[str]:
    return text.replace('"', " ").replace("=", " ").split()


def test_the_command_ends_with_1_when_something_is_bad_and_is_harmless(tmp_path: Path) -> None:
    cli = Cli(
        home=tmp_path, FLEDX_CLI_CONTROL_PLANE_URL=f"http://127.0.0.1:{free_port()}", XDG_STATE_HOME=str(tmp_path)
    )

    assert 1 == cli.run("doctor", "operator")
    assert "BAD   operator  control plane" in cli.shown
    assert "-> is it running" in cli.shown
    assert 1 == cli.run("doctor", "operator", "--json")
    assert json.loads(cli.shown)["items"][0]["level"] == "bad"
    assert 2 == cli.run("doctor", "nobody")
    assert 0 == cli.run("support-bundle", str(tmp_path / "b.tar.gz"))
    assert 1 == cli.run("support-bundle", str(tmp_path / "none" / "b.tar.gz"))
    assert "cannot be written" in cli.said
