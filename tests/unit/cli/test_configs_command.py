"""`fledx configs` and `fledx secrets`: what is sent, what is shown, and what never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.transport import Answer, json_answer
from tests.unit.cli.harness import Cli, ago, deployment, page

CONFIG = "44444444-dddd-4ddd-8ddd-444444444444"
META = {"config_id": CONFIG, "name": "shop", "version": 3, "created_at": ago(7200), "updated_at": ago(180)}
API = "/api/v1/configs"


def config(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "metadata": META,
        "entries": [{"key": "A", "value": "1"}, {"key": "KEY", "secret_ref": "api"}],
        "files": [{"path": "/etc/x", "content": "hello"}, {"path": "/run/tls", "file_ref": "tls"}],
        "deployments": ["web"],
        "nodes": [],
    }
    return {**base, **fields}


def secret(**fields: Any) -> dict[str, Any]:
    return {"name": "db", "version": 2, "created_at": ago(7200), "updated_at": ago(60), "used_by": ["web"], **fields}


def attachment(*, attached: bool = True) -> Answer:
    return json_answer({"metadata": META, "deployment_id": "d", "attached": attached})


def test_configs_are_listed_with_how_much_is_in_them() -> None:
    cli = Cli({f"GET {API}": page({"metadata": META, "entry_count": 2, "file_count": 1})})

    assert cli.run("configs", "list") == 0
    assert cli.shown.splitlines() == [
        "NAME  VERSION  ENTRIES  FILES  CHANGED  ID",
        "shop  3        2        1      3m       44444444",
    ]
    assert cli.run("configs", "list", "-o", "name") == 0
    assert cli.shown == "shop\n"
    assert cli.run("configs", "list", "--wide") == 0
    assert CONFIG in cli.shown


def test_a_config_is_shown_on_one_screen() -> None:
    cli = Cli({f"GET {API}/{CONFIG}": json_answer(config())})

    assert cli.run("configs", "show", "--id", CONFIG) == 0
    assert cli.shown.splitlines() == [
        "name         shop",
        f"id           {CONFIG}",
        "version      3, 3m ago",
        "deployments  web",
        "nodes        none",
        "",
        "entries",
        "  A = 1",
        "  KEY = secret api",
        "",
        "files",
        "  /etc/x: 5 bytes",
        "  /run/tls: secret tls",
    ]


def test_variables_come_from_flags_and_env_files_in_this_order(tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text("# comment\n\nexport B=two words\nC='quoted'\nEMPTY=\nURL=a=b\n")
    cli = Cli({f"POST {API}": json_answer(config(), 201)})

    assert (
        cli.run("configs", "create", "--name", "shop", "--var", "A=1", "--from-env-file", f"{tmp_path}/config.env") == 0
    )
    assert cli.body("POST") == {
        "name": "shop",
        "entries": [
            {"key": "A", "value": "1"},
            {"key": "B", "value": "two words"},
            {"key": "C", "value": "'quoted'"},
            {"key": "EMPTY", "value": ""},
            {"key": "URL", "value": "a=b"},
        ],
    }


def test_a_bad_line_of_an_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text("A=1\nnonsense\n")
    cli = Cli()

    assert cli.run("configs", "create", "shop", "--from-env-file", f"{tmp_path}/config.env") == 2
    assert "config.env, line 2 is not KEY=VALUE" in cli.said
    assert cli.run("configs", "create", "shop", "--from-env-file", f"{tmp_path}/none") == 2
    assert "none cannot be read: No such file" in cli.said


def test_secret_entries_and_files_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("colour = blue\n")
    (tmp_path / "raw").write_bytes(b"\xff\x00")
    cli = Cli({f"POST {API}": json_answer(config(), 201)})
    files = [f"/etc/a=@{tmp_path}/text", f"/etc/b=@{tmp_path}/raw", "/etc/c=tls"]

    line = ["configs", "create", "--name", "shop", "--secret-entry", "API_KEY=my-secret"]
    assert cli.run(*line, *(word for file in files for word in ("--file", file))) == 0
    assert cli.body("POST") == {
        "name": "shop",
        "entries": [{"key": "API_KEY", "secret_ref": "my-secret"}],
        "files": [
            {"path": "/etc/a", "content": "colour = blue\n"},
            {"path": "/etc/b", "content_base64": "/wA="},
            {"path": "/etc/c", "file_ref": "tls"},
        ],
    }


def test_an_update_replaces_and_says_what_is_lost_or_merges() -> None:
    changed = config(entries=[{"key": "NEW", "value": "2"}])
    cli = Cli({f"GET {API}/shop": json_answer(config()), f"PUT {API}/{CONFIG}": json_answer(changed)})

    assert cli.run("configs", "update", "shop", "--var", "NEW=2") == 0
    assert cli.body("PUT") == {"entries": [{"key": "NEW", "value": "2"}]}
    assert "not in it any more: A, KEY (--merge keeps what is not named)" in cli.said

    cli.run("configs", "update", "shop", "--var", "a=2", "--merge")
    assert cli.body("PUT") == {"entries": [{"key": "KEY", "secret_ref": "api"}, {"key": "a", "value": "2"}]}
    cli.run("configs", "update", "shop", "--clear-entries", "--clear-files", "--name", "other", "--version", "7")
    assert cli.body("PUT") == {"version": 7, "entries": [], "files": [], "name": "other"}
    assert cli.run("configs", "update", "shop", "--clear-entries", "--var", "A=1") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("deployment", "--config-id", "shop", "--deployment-id", "web"),
        ("deployment", "shop", "--deployment", "web"),
        ("shop", "--deployment", "web"),
        ("--config", "shop", "shop", "--deployment-id", "web"),
    ],
)
def test_configs_are_attached_in_the_words_of_the_readme_and_in_shorter_ones(words: tuple[str, ...]) -> None:
    cli = Cli(
        {
            f"POST {API}/shop/deployments/web": attachment(),
            f"DELETE {API}/shop/deployments/web": attachment(attached=False),
        }
    )

    assert cli.run("configs", "attach", *words) == 0
    assert cli.shown == "shop (version 3) is attached to deployment web\n"
    assert cli.run("configs", "detach", *words) == 0
    assert cli.shown == "shop (version 3) is not attached to deployment web\n"


def test_several_configs_at_once_each_counted_once() -> None:
    cli = Cli({f"POST {API}/a/nodes/edge-1": attachment(), f"POST {API}/b/nodes/edge-1": attachment()})

    assert cli.run("configs", "attach", "node", "--config-id", "a,b", "a", "--node-id", "edge-1") == 0
    assert cli.asked("POST") == [f"POST {API}/a/nodes/edge-1", f"POST {API}/b/nodes/edge-1"]
    assert "named twice" in cli.said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("shop",), "Give --deployment or --node"),
        (("shop", "--node", "n", "--deployment", "d"), "Give --deployment or --node"),
        (("node", "shop", "--deployment", "d"), "node goes with --node-id"),
        (("deployment", "--deployment", "d"), "which config?"),
    ],
)
def test_an_attachment_that_is_not_clear_is_refused(words: tuple[str, ...], says: str) -> None:
    cli = Cli()

    assert cli.run("configs", "attach", *words) == 2
    assert says in cli.said
    assert cli.asked() == []


def test_deleting_asks_and_says_who_uses_it() -> None:
    cli = Cli({f"GET {API}/shop": json_answer(config()), f"DELETE {API}/{CONFIG}": json_answer(META)})

    cli.typed = "n\n"
    assert cli.run("configs", "delete", "shop", tty=True) == 1
    assert "Delete config shop, which web use?" in cli.said
    assert cli.run("configs", "delete", "--id", "shop", "--yes") == 0
    assert cli.said == "config shop deleted\n"


def test_a_secret_comes_from_stdin_without_its_last_newline_and_is_not_shown() -> None:
    cli = Cli({"PUT /api/v1/secrets/db": json_answer(secret())})
    cli.typed = "hunter2\n"

    assert cli.run("secrets", "set", "db") == 0
    (request,) = cli.transport.requests
    assert (request.body, request.headers["content-type"]) == (b"hunter2", "application/octet-stream")
    assert cli.said == "secret db is at version 2\nweb follow step by step, if it has changed\n"
    assert "hunter2" not in cli.shown + cli.said


def test_a_secret_from_a_file_is_taken_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(b"\xff\x00hunter2\n")
    cli = Cli({"PUT /api/v1/secrets/db": json_answer(secret())})

    assert cli.run("secrets", "set", "db", "--from-file", f"{tmp_path}/value") == 0
    assert cli.transport.requests[-1].body == b"\xff\x00hunter2\n"
    cli.typed = "x\n"
    assert cli.run("secrets", "set", "db", "--from-file", "-") == 0
    assert cli.transport.requests[-1].body == b"x\n"


def test_an_empty_secret_and_one_on_the_line_are_refused() -> None:
    cli = Cli()

    assert cli.run("secrets", "set", "db") == 2
    assert "is empty" in cli.said
    assert cli.run("secrets", "set", "db", "hunter2") == 2
    assert "hunter2" not in cli.said.replace("unknown word 'hunter2'", "")


def test_secrets_are_listed_with_who_uses_them() -> None:
    cli = Cli({"GET /api/v1/secrets": page(secret(), secret(name="old", used_by=[], readable=False))})

    assert cli.run("secrets", "ls") == 0
    assert cli.shown.splitlines() == [
        "NAME  VERSION  CHANGED  USED BY",
        "db    2        60s      web",
        "old   2        60s      -        sealed with a key that is lost: set it again",
    ]


def test_secrets_are_deleted_by_name_and_by_force() -> None:
    cli = Cli({"DELETE /api/v1/secrets/db": Answer(status=204)})

    assert cli.run("secrets", "delete", "db", "--yes", "--force") == 0
    assert cli.asked() == ["DELETE /api/v1/secrets/db?force=true"]


def test_show_env_tells_where_each_variable_is_from() -> None:
    variables = [
        {"name": "A", "origin": "node config base", "value": "********"},
        {"name": "P", "origin": "secret env", "value": "********", "secret": "db", "missing": True},
    ]
    files = [{"name": "/etc/x", "origin": "config shop"}]
    found = {
        "name": "web",
        "replica_number": 1,
        "node": "edge-1",
        "revision": 4,
        "variables": variables,
        "files": files,
    }
    web = deployment()
    one = f"GET /api/v1/deployments/{web['deployment_id']}/env?replica=1"
    cli = Cli({"GET /api/v1/deployments/web": json_answer(web), one: json_answer(found)})

    assert cli.run("deployments", "show", "web", "--env", "--replica", "1") == 0
    assert cli.shown.splitlines() == [
        "web/1 on edge-1, revision 4",
        "",
        "VARIABLE  VALUE               FROM",
        "A         ********            node config base",
        "P         secret db, missing  secret env",
        "",
        "FILE    CONTENT      FROM",
        "/etc/x  of a config  config shop",
    ]


def test_a_secret_in_a_variable_comes_with_a_warning_and_one_in_a_file_does_not() -> None:
    cli = Cli({"POST /api/v1/deployments": json_answer(deployment(), 201)})

    line = ("deployments", "create", "web", "--image", "nginx", "--detach")
    assert cli.run(*line, "--secret-env", "PASSWORD=db") == 0
    assert "`docker inspect` on the node shows what PASSWORD holds" in cli.said
    assert cli.run(*line, "--secret-file", "/run/db=db") == 0
    assert "docker inspect" not in cli.said


def test_a_config_is_attached_with_the_create() -> None:
    cli = Cli({"POST /api/v1/deployments": json_answer(deployment(), 201)})

    line = ("deployments", "create", "web", "--image", "nginx", "--detach", "--config", "shop", "--config", "base")
    assert cli.run(*line, "--secret-file", "/run/db=db,owner=1000:1001,mode=0440") == 0
    assert cli.asked() == ["POST /api/v1/deployments?config=shop&config=base"]
    assert cli.body("POST")["secret_files"] == [
        {"path": "/run/db", "secret": "db", "owner": "1000:1001", "mode": "0440"}
    ]
