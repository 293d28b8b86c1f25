"""Faults 19 and 21: a node that was away for a year comes back, and nobody comes in as somebody else."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from fledx.agent.identity import Identity
from fledx.agent.tunnel_client import join, linked, refuse
from fledx.control_plane.trust.pki import authority, server_certificate, utc_now
from fledx.errors import Denied, FledxError
from fledx.models.node import NodeFacts
from fledx.models.token import JoinString
from fledx.tunnel.authority import fetch_authority
from fledx.tunnel.greeting import Hello
from fledx.tunnel.tls import client_context
from tests.acceptance.system import System
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

A_YEAR = timedelta(days=366)


def nodes(system: System) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in system.cli_json("nodes", "list")["items"]}


def identity(system: System, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((system.folder / name / "identity.json").read_text())
    return found


def age_certificate(directory: Path) -> None:
    """Have the server's certificate be one of a year ago, as after a year in a drawer."""
    for name in ("server.pem", "server.key"):
        (directory / name).unlink()
    server_certificate(directory, authority(directory, utc_now()), ["127.0.0.1"], utc_now() - A_YEAR)


def test_a_node_that_was_off_for_a_year_comes_back_by_itself_with_all_it_had(system: System) -> None:
    system.start("edge-1")
    system.deploy("web")
    before, running = identity(system, "edge-1"), system.processes("web")
    system.agents["edge-1"].stop()
    system.control_plane.stop()
    age_certificate(system.folder / "state/fledx/cp")

    system.start_control_plane()
    system.agents["edge-1"].start()
    eventually(lambda: nodes(system)["edge-1"]["status"] == "ready", within=120)
    assert (before["node_id"], before["node_token"]) == (
        identity(system, "edge-1")["node_id"],
        identity(system, "edge-1")["node_token"],
    )
    assert running == system.processes("web")


def test_a_node_that_lost_its_identity_joins_again_by_one_line_and_is_the_node_it_was(system: System) -> None:
    system.start("edge-1")
    system.deploy("web")
    before, running = identity(system, "edge-1")["node_id"], system.processes("web")
    system.agents.pop("edge-1").stop()
    (system.folder / "edge-1/identity.json").unlink()
    system.start_agent("edge-1")
    eventually(lambda: (system.folder / "edge-1/identity.json").exists(), within=120)
    assert before == identity(system, "edge-1")["node_id"]
    eventually(lambda: nodes(system)["edge-1"]["status"] == "ready", within=120)
    assert running == system.processes("web")


def knocked(system: System, hello: Hello) -> FledxError | None:
    """What the control plane says to whoever shows this at its tunnel; None when it is let in."""
    kept = identity(system, "edge-1")

    async def knock() -> None:
        context = client_context(kept["authority"])
        async with linked("127.0.0.1", system.tunnel_port, context, hello, refuse, lambda message: None, 60.0) as link:
            link.close("only knocking")

    try:
        anyio.run(knock)
    except FledxError as problem:
        return problem
    return None


def joined(system: System, text: str, host_key: str) -> Identity | FledxError:
    async def attempt() -> Identity:
        facts = NodeFacts(name=f"host-{host_key}", host_key=host_key)
        return await join(JoinString.parse(text), facts, connect_timeout=60.0)

    try:
        return anyio.run(attempt)
    except FledxError as problem:
        return problem


def test_nobody_comes_in_with_the_token_of_another_node_or_one_that_never_was(system: System) -> None:
    system.start("edge-1", "edge-2")
    own, other = identity(system, "edge-1"), identity(system, "edge-2")
    stranger = str(uuid.uuid4())
    wrong = {
        "another node's token": Hello(role="agent", node_id=own["node_id"], token=other["node_token"]),
        "a token that never was": Hello(role="agent", node_id=own["node_id"], token="fn_" + "A" * 43),
        "a node that never was": Hello(role="agent", node_id=stranger, token=own["node_token"]),
        "no token": Hello(role="agent", node_id=own["node_id"], token=""),
    }
    said = {case: knocked(system, hello) for case, hello in wrong.items()}
    assert all(isinstance(problem, Denied) for problem in said.values()), said
    # Who tries cannot learn from the answer whether the node exists.
    assert 1 == len({str(problem) for problem in said.values()}), said
    assert {"edge-1": "ready", "edge-2": "ready"} == {name: node["status"] for name, node in nodes(system).items()}
    eventually(lambda: refusals(system) >= 1)


def refusals(system: System) -> int:
    request = urllib.request.Request(
        f"{system.url}/api/v1/audit-logs?limit=100", headers={"authorization": f"Bearer {system.token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.loads(answer.read())["items"]
    return sum(1 for entry in found if entry["action"] == "auth" and entry["status"] != "success")


def test_a_join_string_serves_once_and_a_replay_of_it_is_refused(system: System) -> None:
    system.start("edge-1")
    with contextlib.closing(system.api()) as api:
        text = api.join_token({"uses": 1})["join"]
    first = joined(system, text, "one")
    assert isinstance(first, Identity)
    again = joined(system, text, "two")
    assert isinstance(again, Denied)
    assert "unknown, used up or too old" in str(again)
    assert first.node_token not in str(again)
    assert "host-two" not in nodes(system)


def test_a_control_plane_of_another_authority_is_refused_by_the_node(system: System, tmp_path: Path) -> None:
    """The other side of fault 21: the node believes only the authority that its token names."""
    system.start("edge-1")
    other = tmp_path / "other"
    other.mkdir()
    pins = tuple(identity(system, "edge-1")["node_token"].split(".")[1:])
    assert pins

    def swapped(change: Callable[[], None]) -> FledxError | None:
        system.control_plane.stop()
        change()
        system.start_control_plane()
        try:
            anyio.run(_fetched, system.tunnel_port, pins)
        except FledxError as problem:
            return problem
        return None

    home = system.folder / "state/fledx/cp"

    def impostor() -> None:
        for name in ("ca.pem", "ca.key", "server.pem", "server.key"):
            shutil.move(home / name, other / name)

    def genuine() -> None:
        for name in ("ca.pem", "ca.key", "server.pem", "server.key"):
            shutil.move(other / name, home / name)

    assert isinstance(swapped(impostor), Denied)
    assert swapped(genuine) is None


async def _fetched(port: int, pins: tuple[str, ...]) -> str:
    return await fetch_authority("127.0.0.1", port, pins, connect_timeout=60.0)


def registered(system: System, token: str) -> int:
    """The status that registering over HTTP gets with this token."""
    request = urllib.request.Request(
        f"{system.url}/api/v1/nodes/register",
        data=b"{}",
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def test_who_guesses_registration_tokens_is_slowed_down_and_who_has_one_is_not(system: System) -> None:
    system.start()
    with contextlib.closing(system.api()) as api:
        token = JoinString.parse(api.join_token({"uses": 1})["join"]).token
    guesses = [registered(system, f"guess-{number}") for number in range(40)]
    assert {401, 429} == set(guesses)
    assert 429 in (registered(system, f"another-{number}") for number in range(40))
    assert 201 == registered(system, token)


def test_on_its_own_machine_health_and_metrics_answer_in_the_clear_and_the_rest_over_tls(system: System) -> None:
    system.control_plane.environ.update(FLEDX_CP_SERVER_HOST="127.0.0.2", FLEDX_CP_SERVER_NAMES="127.0.0.2")
    system.start_control_plane()
    with urllib.request.urlopen(f"{system.url}/metrics", timeout=60) as answer:
        assert b"fledx_nodes" in answer.read()
    ca = str(system.folder / "state/fledx/cp/ca.pem")
    for host in ("localhost", "127.0.0.2"):
        url = f"https://{host}:{system.api_port}"
        done = system.cli("status", FLEDX_CLI_CONTROL_PLANE_URL=url, FLEDX_CLI_CA_CERT_PATH=ca)
        assert (0, "") == (done.returncode, done.stderr)
    refused = system.cli("status")
    assert 1 == refused.returncode
    assert "speaks https" in refused.stderr
    assert "https://" in refused.stderr
