"""`fledx registries`: what is sent, what is shown, and what never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.transport import Answer, json_answer
from tests.unit.cli.harness import Cli, ago, page

HOST = "registry.example.com:5000"
AT = "/api/v1/registries/registry.example.com%3A5000"


def registry(**fields: Any) -> dict[str, Any]:
    base = {"host": HOST, "username": "puller", "version": 2, "created_at": ago(7200), "updated_at": ago(60)}
    return {**base, "used_by": ["web"], **fields}


def test_a_password_comes_from_stdin_or_a_file_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\r\n")
    cli = Cli({f"PUT {AT}": json_answer(registry())})
    for words in (["--password-stdin"], ["--password-file", "-"], ["--password-file", f"{tmp_path}/password"], []):
        cli.typed = "hunter2\n"

        assert cli.run("registries", "login", HOST, "--username", "puller", *words) == 0
        assert json.loads(cli.transport.requests[-1].body or b"") == {"username": "puller", "password": "hunter2"}
        assert cli.said == (f"puller pulls from {HOST} from the next pull on\nweb come from there; they keep running\n")
        assert "hunter2" not in cli.shown


def test_an_empty_password_and_one_on_the_line_are_refused(tmp_path: Path) -> None:
    cli = Cli()

    assert cli.run("registries", "login", HOST, "-u", "puller") == 2
    assert "is empty" in cli.said
    assert cli.run("registries", "login", HOST, "-u", "puller", "--password", "hunter2") == 2
    assert cli.run("registries", "login", HOST, "-u", "puller", "--password-file", f"{tmp_path}/none") == 2
    assert "cannot be read" in cli.said
    assert cli.asked() == []


def test_registries_are_listed_with_who_pulls_from_there() -> None:
    lost = registry(host="docker.io", used_by=[], readable=False)
    cli = Cli({"GET /api/v1/registries": page(lost, registry())})

    assert cli.run("registry", "ls") == 0
    assert cli.shown.splitlines() == [
        "REGISTRY                   USERNAME  VERSION  CHANGED  USED BY",
        "docker.io                  puller    2        60s      -        sealed with a key that is lost: log in again",
        "registry.example.com:5000  puller    2        60s      web",
    ]
    assert cli.run("registries", "list", "-o", "name") == 0
    assert cli.shown == f"docker.io\n{HOST}\n"


def test_logins_are_deleted_by_host() -> None:
    cli = Cli({f"DELETE {AT}": Answer(status=204)})

    assert cli.run("registries", "logout", HOST, "--yes") == 0
    assert cli.said == f"login of {HOST} deleted\n"
