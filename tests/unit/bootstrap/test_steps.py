"""The scripts of the steps, run by a real shell in a folder of their own; what undoes them too."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from pathlib import Path

import pytest

from fledx.bootstrap.facts import Entry
from fledx.bootstrap.host import Done, Script, packed
from fledx.bootstrap.steps import (
    MakeDirectory,
    PlaceArchive,
    RemoveDirectory,
    RemoveFile,
    RemoveTree,
    Step,
    SwitchLink,
    WriteFile,
)
from tests.unit.bootstrap.here import Here, me


def run(step: Step) -> Done:
    done = Here().run(step)
    assert (done.code, done.err) == (0, "")
    return done


def written(tmp_path: Path, content: str = "A=1\n", previous: Entry | None = None) -> WriteFile:
    return WriteFile(
        path=f"{tmp_path}/role.env", content=content, owner=me(), mode="600", previous=previous, reason="a test"
    )


def test_a_file_is_written_with_its_mode_and_nothing_else_is_left(tmp_path: Path) -> None:
    run(written(tmp_path, "A='$(reboot)' \\ \"x\"\n"))
    (file,) = tmp_path.iterdir()
    assert (file.name, file.read_text()) == ("role.env", "A='$(reboot)' \\ \"x\"\n")
    assert file.stat().st_mode & 0o777 == 0o600


def test_undoing_a_file_brings_back_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "role.env"
    file.write_text("A=0\n")
    file.chmod(0o640)
    step = written(tmp_path, previous=Entry(owner=me(), mode="640", content="A=0\n"))
    run(step)
    assert file.read_text() == "A=1\n"
    for each in step.undo():
        run(each)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("A=0\n", 0o640)


def test_undoing_a_new_file_removes_it_and_undoing_twice_does_no_harm(tmp_path: Path) -> None:
    step = written(tmp_path)
    run(step)
    for each in step.undo() * 2:
        run(each)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_input_that_a_broken_connection_cut_short_never_becomes_the_file(tmp_path: Path, kept: int) -> None:
    (tmp_path / "role.env").write_text("A=0\n")
    step = written(tmp_path, "A=123456\n")
    command, feed = packed(step)
    cut = len(feed) - len(step.feed()) + kept
    done = subprocess.run(["sh", "-c", command], input=feed[:cut], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"did not arrive whole" in done.stderr
    assert [file.read_text() for file in tmp_path.iterdir()] == ["A=0\n"]


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".fledx-Ab12Cd34").write_text("half of it")
    (tmp_path / ".fledx-mine").write_text("by hand")
    run(written(tmp_path))
    assert {"role.env", ".fledx-mine"} == {file.name for file in tmp_path.iterdir()}


def test_a_script_that_was_cut_short_itself_is_not_run(tmp_path: Path) -> None:
    order = Script(text=f"touch {tmp_path}/a\nif true; then touch {tmp_path}/b; fi\n")
    command, feed = packed(order)
    done = subprocess.run(["sh", "-c", command], input=feed[:-20], capture_output=True, check=False)
    assert done.returncode != 0
    assert not (tmp_path / "b").exists()


def test_an_archive_is_placed_only_if_its_digest_is_right(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    right = PlaceArchive(
        path=f"{tmp_path}/bin/fledx-1-ab.pyz", digest=hashlib.sha256(data).hexdigest(), data=data, reason="a test"
    )
    wrong = dataclasses.replace(right, digest="0" * 64)
    own = right.script().replace("root:root", me())

    done = Here().run(Script(text=own.replace(right.digest, wrong.digest), input=data))
    assert done.code == 1
    assert list((tmp_path / "bin").iterdir()) == []

    done = Here().run(Script(text=own, input=data))
    assert done.code == 0
    (file,) = (tmp_path / "bin").iterdir()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (data, 0o755)


def test_a_link_is_switched_and_switched_back(tmp_path: Path) -> None:
    path = tmp_path / "fledx"
    first = SwitchLink(path=str(path), target="fledx-1.pyz", reason="a test")
    second = SwitchLink(path=str(path), target="fledx-2.pyz", previous="fledx-1.pyz", reason="a test")
    run(first)
    run(second)
    assert path.readlink() == Path("fledx-2.pyz")
    run(second.undo()[0])
    assert path.readlink() == Path("fledx-1.pyz")
    run(first.undo()[0])
    assert list(tmp_path.iterdir()) == []


def test_a_link_takes_no_notice_of_a_directory_that_it_led_to(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "fledx").symlink_to("old")
    run(SwitchLink(path=f"{tmp_path}/fledx", target="new", previous="old", reason="a test"))
    assert (tmp_path / "fledx").readlink() == Path("new")
    assert list((tmp_path / "old").iterdir()) == []


def test_a_directory_gets_owner_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    step = MakeDirectory(path=f"{tmp_path}/a/b", owner=me(), mode="711", reason="a test")
    run(step)
    run(step)
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o711
    run(step.undo()[0])
    assert not (tmp_path / "a/b").exists()


def test_undoing_a_directory_leaves_what_a_role_has_put_there(tmp_path: Path) -> None:
    step = MakeDirectory(path=f"{tmp_path}/data", owner=me(), mode="700", reason="a test")
    run(step)
    (tmp_path / "data/ca.key").write_text("precious")
    run(step.undo()[0])
    assert (tmp_path / "data/ca.key").read_text() == "precious"


def test_undoing_a_directory_takes_a_lock_along_but_not_a_lock_beside_data(tmp_path: Path) -> None:
    step = MakeDirectory(path=f"{tmp_path}/data", owner=me(), mode="700", locks=("agent.lock",), reason="a test")
    run(step)
    (tmp_path / "data/agent.lock").touch()
    run(step.undo()[0])
    assert not (tmp_path / "data").exists()

    run(step)
    (tmp_path / "data/agent.lock").touch()
    (tmp_path / "data/identity.json").write_text("precious")
    run(step.undo()[0])
    assert {"agent.lock", "identity.json"} == {path.name for path in (tmp_path / "data").iterdir()}


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    for kind in (RemoveFile, RemoveTree, RemoveDirectory):
        run(kind(path=f"{tmp_path}/nothing", reason="a test"))


def test_a_failing_step_says_why(tmp_path: Path) -> None:
    done = Here().run(WriteFile(path=f"{tmp_path}/no/file", content="", owner=me(), mode="600", reason="a test"))
    assert done.code != 0
    assert "No such file or directory" in done.said
