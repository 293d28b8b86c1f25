"""Two runs at once on one host: one has it, the other is told; a run that died has nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fledx.bootstrap import run as door
from fledx.bootstrap.fleet import on_each
from fledx.bootstrap.turn import LEASE_SECONDS, Take, is_dead, own_word, turn
from fledx.bootstrap.visit import Mode, Visit
from fledx.errors import Conflict
from tests.fakes.host import FakeHost
from tests.unit.bootstrap.here import Here

ANOTHER = "bob@laptop 0123456789abcdef:1:2"


@pytest.fixture
def word(tmp_path: Path) -> str:
    """Where the word is left, in place of /run."""
    return str(tmp_path / "lock")


def died() -> str:
    """The word of a process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = own_word(process.pid)
        process.kill()
    return found


def left(word: str, text: str, *, ago: int = 0) -> None:
    """A run left this word on the host so long ago."""
    done = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True)
    Path(word).write_text(f"{text} {int(done.stdout) - ago}\n")


def test_one_at_work_keeps_another_out_by_name_until_it_has_ended(word: str) -> None:
    left(word, ANOTHER)
    with pytest.raises(Conflict, match="bob@laptop is at work on it") as refused, turn(Here(), word=word):
        pass
    assert word in (refused.value.hint or "")
    assert ANOTHER in Path(word).read_text()

    Path(word).write_text("")
    with contextlib.suppress(ZeroDivisionError), turn(Here(), word=word):
        assert Here().run(Take(expected="", mine=ANOTHER, word=word)).out.startswith(own_word())
        raise ZeroDivisionError
    assert "" == Path(word).read_text()


def test_a_run_that_died_and_one_that_was_cut_off_long_ago_have_nothing_any_more(word: str) -> None:
    assert is_dead(died())
    assert not is_dead(own_word())
    assert not is_dead(ANOTHER)
    for text, ago in ((died(), 0), (ANOTHER, LEASE_SECONDS + 1)):
        left(word, text, ago=ago)
        with turn(Here(), word=word):
            assert own_word() in Path(word).read_text()


def test_of_many_at_the_same_moment_one_has_it(word: str) -> None:
    told: list[str] = []

    def take(number: int) -> None:
        told.append(Here().run(Take(expected="", mine=f"user{number}@here key:{number}:0", word=word)).out)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == told.count("")
    assert 2 == len(set(told))


def test_every_command_that_changes_a_host_takes_its_turn_and_one_that_looks_does_not() -> None:
    host = FakeHost()
    host.word = ANOTHER

    def work(visit: Visit, name: str | None) -> dict[str, Any]:
        return {"word": host.word}

    def outcome(mode: Mode) -> Any:
        (found,) = on_each(door.Hosts(targets=("n1",)), work, mode, lambda news: None, lambda *_: host)
        return found

    assert "bob@laptop is at work" in outcome(Mode()).error
    assert {"word": ANOTHER} == outcome(Mode(dry_run=True)).facts
    host.word = ""
    assert {"word": own_word()} == outcome(Mode()).facts
    assert "" == host.word
