"""`fledx certificates`: what is sent, what is shown, and what never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.transport import Answer, json_answer
from tests.unit.cli.harness import Cli, ago, page

ALL = "/api/v1/certificates"


def certificate(**fields: Any) -> dict[str, Any]:
    base = {
        "name": "shop",
        "version": 1,
        "hosts": ["shop.example.com", "*.shop.example.com", "c.example"],
        "shown_for": ["shop.example.com"],
        "issuer": "CN=R11\x1b[31m",
        "fingerprint": "ab" * 32,
        "not_before": ago(86400),
        "not_after": ago(-86400 * 20 - 60),
        "created_at": ago(7200),
        "updated_at": ago(60),
        "used_by": ["web"],
        "readable": True,
    }
    return {**base, **fields}


def files(folder: Path) -> tuple[str, str]:
    (folder / "cert.pem").write_text("CHAIN\n")
    (folder / "key.pem").write_text("THE KEY\n")
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_create_and_update_send_both_files_and_show_no_key(tmp_path: Path) -> None:
    chain, key = files(tmp_path)
    cli = Cli({f"POST {ALL}": json_answer(certificate()), f"PUT {ALL}/shop": json_answer(certificate(warning="soon"))})

    assert cli.run("certificates", "create", "shop", "--cert", chain, "--key", key) == 0
    assert json.loads(cli.transport.requests[-1].body or b"") == {
        "name": "shop",
        "chain": "CHAIN\n",
        "key": "THE KEY\n",
    }
    assert cli.said.startswith("certificate shop is for shop.example.com, *.shop.example.com, c.example until ")
    assert cli.run("certificate", "update", "shop", "--cert", chain, "--key", key) == 0
    assert json.loads(cli.transport.requests[-1].body or b"") == {"chain": "CHAIN\n", "key": "THE KEY\n"}
    assert cli.said.endswith("note: soon\n")
    assert "THE KEY" not in cli.said + cli.shown


def test_stdin_may_hold_the_key_or_both(tmp_path: Path) -> None:
    chain, _ = files(tmp_path)
    cli = Cli({f"POST {ALL}": json_answer(certificate())})
    for cert, sent in ((chain, "CHAIN\n"), ("-", "PIPED\n")):
        cli.typed = "PIPED\n"
        assert cli.run("certificates", "create", "shop", "--cert", cert, "--key", "-") == 0
        assert json.loads(cli.transport.requests[-1].body or b"") == {"name": "shop", "chain": sent, "key": "PIPED\n"}


@pytest.mark.parametrize("flag", ["--cert", "--key"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, flag: str) -> None:
    chain, key = files(tmp_path)
    (tmp_path / "der").write_bytes(b"\x30\x82\xff\xfe")
    words = {"--cert": chain, "--key": key}
    for path, told in ((f"{tmp_path}/none", "cannot be read"), (f"{tmp_path}/der", "is no PEM file")):
        cli = Cli()
        given = [word for each in {**words, flag: path}.items() for word in each]
        assert cli.run("certificates", "create", "shop", *given) == 2
        assert told in cli.said
        assert cli.asked() == []


def test_certificates_are_listed_with_their_end_and_what_needs_attention() -> None:
    ending = certificate(name="soon", hosts=["a.example"], used_by=[], warning="ends in 20 days")
    cli = Cli({f"GET {ALL}": page(certificate(not_after=ago(3)), ending)})

    assert cli.run("certificates", "ls") == 0
    assert cli.shown.splitlines() == [
        "NAME  HOSTS                                     ENDS IN  USED BY  NOTE",
        "shop  shop.example.com, *.shop.example.com, +1  ended    web",
        "soon  a.example                                 20d      -        ends in 20 days",
    ]


def test_one_is_shown_whole_and_harmless() -> None:
    cli = Cli({f"GET {ALL}/shop": json_answer(certificate())})
    assert cli.run("certificates", "show", "shop") == 0
    assert "\x1b" not in cli.shown
    assert "shown for    shop.example.com\n" in cli.shown


def test_it_is_deleted_by_name() -> None:
    cli = Cli({f"DELETE {ALL}/shop": Answer(status=204)})
    assert cli.run("certificates", "rm", "shop", "--yes") == 0
    assert cli.said == "certificate shop deleted\n"
