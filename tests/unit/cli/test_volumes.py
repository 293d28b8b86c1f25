"""`fledx volumes`: a file gets its name only when it is whole, and only what is whole is sent."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fledx.models.archive import Sum, failure
from tests.fakes.transport import Answer, json_answer
from tests.unit.cli.harness import HOSTILE, Cli, ago, deployment, page

BACKUP = "POST /api/v1/deployments/db/volumes/data/backup"
RESTORE = "POST /api/v1/deployments/db/volumes/data/restore"


def volume(**fields: Any) -> dict[str, Any]:
    base = {
        "deployment": "db",
        "replica_number": 0,
        "volume": "data",
        "node": "edge-1",
        "state": "current",
        "name": "fledx-db-data-0",
        "node_id": "n",
        "deployment_id": "d",
        "created_at": ago(7200),
    }
    return {**base, **fields}


def tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = 5000
        archive.addfile(member, io.BytesIO(bytes(5000)))
    return made.getvalue()


def whole(content: bytes) -> bytes:
    found = Sum()
    found.add(content)
    return content + found.last_block()


def streamed(content: bytes, *more: Any) -> Answer:
    pieces = [content[start : start + 999] for start in range(0, len(content), 999)]
    return Answer(headers={"content-type": "application/x-tar"}, pieces=[*pieces, *more])


def test_the_list_says_whose_they_are_and_where_they_lie() -> None:
    cli = Cli({"GET /api/v1/volumes": page(volume(), volume(state="left", name="fledx-db-data-0-r2", node="edge-2"))})
    assert 0 == cli.run("volumes", "list", "db")
    lines = [line.split() for line in cli.shown.splitlines()]
    assert ["data", "db/0", "edge-1", "in", "use", "2h", "fledx-db-data-0"] == lines[1]
    assert ["data", "db/0", "edge-2", "left", "behind", "2h", "fledx-db-data-0-r2"] == lines[2]
    assert "deployment=db" in cli.transport.asked()[0]


def test_sizes_are_shown_to_who_asks_for_them_where_they_are_known() -> None:
    items = page(volume(size_bytes=3 * 2**20), volume(state="left", node="edge-2"))
    cli = Cli({"GET /api/v1/volumes": items})
    assert 0 == cli.run("volumes", "list", "--sizes")
    assert "sizes=true" in cli.transport.asked()[0]
    lines = [line.split() for line in cli.shown.splitlines()]
    assert "SIZE" in lines[0]
    assert ["in", "use", "3Mi", "2h"] == lines[1][3:7]
    assert ["left", "behind", "-", "2h"] == lines[2][3:7]


def test_a_hostile_list_cannot_harm_a_terminal() -> None:
    items = page(dict.fromkeys(volume(size_bytes=1), HOSTILE) | {"replica_number": 0})
    cli = Cli({"GET /api/v1/volumes": items})
    cli.run("volumes", "list", "--sizes")
    assert "\x1b" not in cli.shown
    assert "\u202e" not in cli.shown


def test_a_backup_is_written_whole_and_asked_for_as_it_was_wanted(tmp_path: Path) -> None:
    cli = Cli({BACKUP: streamed(whole(tar()))})
    assert 0 == cli.run("volumes", "backup", "db", "data", str(tmp_path / "f.tar"), "--replica", "1", "--stop")
    assert whole(tar()) == (tmp_path / "f.tar").read_bytes()
    assert ["f.tar"] == [each.name for each in tmp_path.iterdir()]
    (asked,) = cli.transport.asked()
    assert "replica=1" in asked
    assert "mode=stop" in asked


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (streamed(whole(tar())[:-700]), "not whole"),
        (streamed(whole(tar())[:600] + b"?" + whole(tar())[601:]), "digest differs"),
        (streamed(tar()[:2000] + failure("the node is away")), "the node is away"),
        (streamed(tar()[:2000], 999.0, b"late"), "no answer"),
        (json_answer({"error": "it has none by name", "code": "not_found"}, 404), "it has none by name"),
    ],
)
def test_a_backup_that_breaks_off_leaves_nothing_and_what_was_there_before(
    answer: Answer, told: str, tmp_path: Path
) -> None:
    (tmp_path / "f.tar").write_bytes(b"the last one")
    cli = Cli({BACKUP: answer})
    assert 0 != cli.run("volumes", "backup", "db", "data", str(tmp_path / "f.tar"), "--force")
    assert told in cli.err.getvalue()
    assert ["f.tar"] == [each.name for each in tmp_path.iterdir()]
    assert b"the last one" == (tmp_path / "f.tar").read_bytes()


def test_a_name_that_is_taken_is_refused_before_anything_stands_still(tmp_path: Path) -> None:
    (tmp_path / "f.tar").write_bytes(b"the last one")
    cli = Cli({BACKUP: streamed(whole(tar()))})
    assert 1 == cli.run("volumes", "backup", "db", "data", str(tmp_path / "f.tar"))
    assert "--force" in cli.err.getvalue()
    assert [] == cli.transport.asked()


@pytest.mark.parametrize("content", [whole(tar()), tar()])
def test_a_backup_or_any_tar_is_sent_with_its_last_block(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f.tar").write_bytes(content)
    cli = Cli({RESTORE: json_answer(volume())})
    assert 0 == cli.run("volumes", "restore", "db", "data", str(tmp_path / "f.tar"), "--yes")
    (request,) = cli.transport.requests
    assert request.upload is not None
    assert len(whole(tar())) == request.upload.size
    assert "application/x-tar" == request.headers["content-type"]


@pytest.mark.parametrize("content", [b"", b"text", whole(tar())[:300], whole(tar())[:600] + b"?" + whole(tar())[601:]])
def test_what_is_no_backup_or_a_false_one_is_not_sent(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f.tar").write_bytes(content)
    cli = Cli({RESTORE: json_answer(volume())})
    assert 2 == cli.run("volumes", "restore", "db", "data", str(tmp_path / "f.tar"))
    assert [] == cli.transport.asked()


def test_a_script_has_to_say_yes_before_data_is_lost(tmp_path: Path) -> None:
    (tmp_path / "f.tar").write_bytes(whole(tar()))
    cli = Cli({"GET /api/v1/deployments/db": json_answer(deployment(name="db"))})
    assert 2 == cli.run("volumes", "restore", "db", "data", str(tmp_path / "f.tar"))
    assert cli.said.endswith("and restart its replica? Nobody can be asked here: --yes says so\n")
    assert 2 == cli.run("deployments", "delete", "db", "--volumes")
    assert [] == [each for each in cli.transport.asked() if not each.startswith("GET")]


def test_a_person_is_asked_before_data_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "f.tar").write_bytes(whole(tar()))
    cli = Cli({RESTORE: json_answer(volume())})
    cli.typed = "n\n"
    assert 1 == cli.run("volumes", "restore", "db", "data", str(tmp_path / "f.tar"), tty=True)
    assert [] == cli.transport.asked()
