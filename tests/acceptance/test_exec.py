"""`fledx exec` as a user has it: the built file, a real engine, a real terminal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.system import System
from tests.acceptance.typing_at import Sitting
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MIB = 2**20
ALL = 1024 * MIB
BLOCK = bytes(range(256)) * 256
FLOOD = f"import os; block = bytes(range(256)) * 256\nfor _ in range({ALL // len(BLOCK)}): os.write(1, block)"


@pytest.fixture(scope="module")
def web(pyz: Path, sample: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two replicas of the sample app on one node."""
    with System(pyz, tmp_path_factory.mktemp("exec")) as made:
        made.start("edge-1")
        made.deploy("web", replicas=2)
        yield made


def begun(web: System, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
    """`fledx exec` with these words, at pipes."""
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(web.command("exec", *words), env=web.operator_environ(), **piped)


def done(web: System, *words: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
    """The same to its end: exit code, output, error output."""
    with begun(web, *words) as process:
        out, err = process.communicate(given, timeout=120)
    return process.returncode, out, err


def sitting(web: System, *words: str) -> Sitting:
    """The same at a terminal."""
    return Sitting(web.command("exec", *words), {**web.operator_environ(), "TERM": "xterm"})


def high_water(pid: int) -> float:
    """The most memory a process has had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def inside(marker: str) -> list[int]:
    """Processes of this machine with the marker in their command line, but for the command line's own."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = each.read_bytes()
            if marker.encode() in words and b"fledx.pyz" not in words:
                found.append(int(each.parent.name))
    return found


def started(process: subprocess.Popen[bytes], marker: str) -> None:
    """Wait until both ends know that it runs."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    eventually(lambda: inside(marker))


def test_streams_stay_apart_input_reaches_its_end_and_the_place_is_as_asked(web: System) -> None:
    script = "echo $0 $GREETING; pwd; id -u; cat; echo trouble >&2; exit 3"
    words = ["-T", "web/1", "-e", "GREETING=hello there", "-w", "/usr", "-u", "65534", "--", "sh", "-c", script, "me"]
    code, out, err = done(web, *words, given=b"\x00\xff\r\n end")
    assert (code, out, err) == (3, b"me hello there\n/usr\n65534\n\x00\xff\r\n end", b"trouble\n")


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 255])
def test_fault_48_exit_codes_are_passed_through(web: System, code: int) -> None:
    assert done(web, "web", "--", "sh", "-c", f"exit {code}")[0] == code


def test_fault_48_what_cannot_be_started_is_126_or_127_as_in_a_shell(web: System) -> None:
    for words, code in (("no-such-program", 127), ("/etc", 126)):
        ended, out, err = done(web, "web", "--", words)
        assert (ended, out) == (code, b"")
        assert words.encode() in err


def test_what_is_not_there_is_an_error_of_ours_with_a_way_on(web: System) -> None:
    for words, said in (
        (["wbe"], b"did you mean web?"),
        (["web/7"], b"web has no replica 7"),
        (["web/x"], b"NAME/REPLICA"),
        (["web", "--tty"], b"--tty needs a terminal"),
    ):
        code, out, err = done(web, *words)
        assert (code in (1, 2), out) == (True, b"")
        assert said in err, err


def test_a_shell_at_a_terminal_knows_its_window_gets_every_key_and_leaves_the_terminal_as_it_was(web: System) -> None:
    with sitting(web, "web") as shell:
        shell.type("PS1=; stty size; tty\n")
        assert "24 80" in shell.until("/dev/pts/")
        shell.resize(50, 132)
        shell.type("until stty size | grep 132; do :; done\n")
        shell.until("50 132")
        shell.type("sleep 4711 || echo inter''rupted\n")
        eventually(lambda: inside("sleep\0004711"))
        shell.type("\x03")
        shell.type("echo still h''ere\n")
        shell.until("still here")
        assert not inside("sleep\0004711")
        assert shell.now != shell.before
        shell.type("exit 4\n")
        assert shell.end() == 4
        assert shell.now == shell.before


def test_every_opening_and_every_end_is_in_the_audit_log(web: System) -> None:
    done(web, "web/0", "-e", "PIN=9271", "--", "sh", "-c", "echo to be audited")
    done(web, "web/9", "--", "id")

    lines = web.cli_json("audit", "--action", "deployment.exec", "--limit", "3")["items"]
    opening = next(
        each for each in lines if (each.get("after") or {}).get("command", [])[-1:] == ["echo to be audited"]
    )

    def ended() -> list[dict[str, Any]]:
        ends: list[dict[str, Any]] = web.cli_json("audit", "--action", "deployment.exec_end", "--limit", "3")["items"]
        return [each for each in ends if each["request_id"] == opening["request_id"] and each["after"]["bytes_out"]]

    assert len(eventually(ended)) == 1
    assert (opening["operator"], opening["resource_name"], opening["after"]["node"]) == ("admin", "web", "edge-1")
    assert opening["source"] == "127.0.0.1"
    assert "9271" not in str(lines)
    refused = next(each for each in lines if each["status"] == "failure")
    assert "web has no replica 9" in refused["payload"]


def test_fault_48_a_gigabyte_of_binary_output_to_a_reader_that_dawdles_costs_nobody_memory(web: System) -> None:
    """Nothing but windows is held anywhere: the command itself waits for whoever reads."""
    (agent,) = web.agents.values()
    before = {name: high_water(pid) for name, pid in (("agent", agent.pid), ("cp", web.control_plane.pid))}
    with begun(web, "-T", "web", "--", "python3", "-c", FLOOD, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        digest, size = hashlib.sha256(), 0

        def read(most: int) -> None:
            nonlocal size
            assert process.stdout is not None
            while size < most and (piece := process.stdout.read(MIB)):
                digest.update(piece)
                size += len(piece)

        read(MIB)
        held = eventually(lambda: stalled("block = bytes(range(256))"))
        assert held < 32 * MIB
        assert web.cli("status").returncode == 0
        read(ALL - MIB)
        mine = high_water(process.pid)
        read(2 * ALL)
        assert process.wait(120) == 0
    assert size == ALL
    expected = hashlib.sha256()
    for _ in range(ALL // len(BLOCK)):
        expected.update(BLOCK)
    assert digest.digest() == expected.digest()
    after = {name: high_water(pid) for name, pid in (("agent", agent.pid), ("cp", web.control_plane.pid))}
    grown = {name: after[name] - before[name] for name in after}
    print(f"grown by MiB: {grown}, the command line had {mine:.0f}")
    assert all(each < 48 for each in grown.values()), grown
    assert mine < 100


def stalled(marker: str) -> int:
    """How much a process has written, once it has not written more for some looks."""
    (pid,) = inside(marker)
    seen = []
    for _ in range(4):
        counters = Path(f"/proc/{pid}/io").read_text().split()
        seen.append(int(counters[counters.index("wchar:") + 1]))
        time.sleep(0.05)
    return seen[-1] if len(set(seen)) == 1 else 0


def test_fault_48_killed_or_left_the_command_line_leaves_neither_a_raw_terminal_nor_a_running_command(
    web: System,
) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with sitting(web, "web", "--", "sleep", "4712") as left:
            eventually(lambda left=left: inside("sleep\0004712") and left.now != left.before)  # type: ignore[misc]
            left.process.send_signal(number)
            assert left.end() == 128 + number
            assert left.now == left.before
            eventually(lambda: not inside("sleep\0004712"))
    with begun(web, "-T", "web", "--", "sh", "-c", "echo ready; exec sleep 4713") as killed:
        started(killed, "sleep\0004713")
        killed.kill()
        eventually(lambda: not inside("sleep\0004713"))
    with begun(web, "-T", "web", "--", "sh", "-c", "echo ready; exec sleep 4714") as interrupted:
        started(interrupted, "sleep\0004714")
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait(120) == 130
        eventually(lambda: not inside("sleep\0004714"))


def test_fault_48_a_lost_link_is_told_and_ends_with_255(web: System) -> None:
    """Either half of the way: the agent dies, then the control plane."""
    (agent,) = web.agents.values()
    with sitting(web, "web", "--", "sleep", "4715") as shell:
        eventually(lambda: inside("sleep\0004715") and shell.now != shell.before)
        agent.kill()
        assert shell.end() == 255
        assert re.search(rb"the command in replica [01] of web on edge-1 is lost, and how it ended is not", shell.seen)
        assert shell.now == shell.before
    agent.start()
    eventually(lambda: web.ready_nodes() == 1)
    eventually(lambda: done(web, "web", "--", "id")[0] == 0)
    with begun(web, "-T", "web", "--", "sh", "-c", "echo ready; exec sleep 4716") as process:
        started(process, "sleep\0004716")
        web.control_plane.kill()
        assert process.wait(120) == 255
        assert process.stderr is not None
        assert b"is lost, and how it ended is not known" in process.stderr.read()
        eventually(lambda: not inside("sleep\0004716"))
    web.start_control_plane()
    eventually(lambda: web.ready_nodes() == 1)
    for each in inside("sleep\0004715"):  # an agent that was killed could not hang up
        os.kill(each, signal.SIGKILL)
