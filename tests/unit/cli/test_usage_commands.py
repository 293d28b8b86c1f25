"""`fledx usage` and `fledx metrics`: what is asked for, what is printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.cli.views.charts import bar, sparkline
from tests.fakes.transport import json_answer
from tests.unit.cli.harness import EDGE1, HOSTILE, WEB, Cli, joined, lines, page


def minute(**fields: Any) -> dict[str, Any]:
    figures = {"memory": 64 * 2**20, "network_rx": 1536, "network_tx": 0, "blk_read": 4096, "blk_write": 1}
    return {
        "deployment_id": WEB,
        "node_id": EDGE1,
        "replica_number": 1,
        "bucket_start": "2026-11-18T09:46:00.000Z",
        "samples": 6,
        "avg_cpu_percent": 12.34,
        "deployment": "web",
        "node": "edge-1",
        **{f"avg_{name}_bytes": value for name, value in figures.items()},
        **fields,
    }


def test_usage_is_a_line_a_minute_with_names() -> None:
    gone = minute(deployment=None, node=None, replica_number=0)
    cli = Cli({"GET /api/v1/usage": page(minute(), gone)})

    assert 0 == cli.run("usage", "list", "--deployment", "web", "--node", "edge-1", "--replica", "1", "--range", "30m")

    assert joined(lines(cli.shown)) == (
        "TIME               DEPLOYMENT  NODE      REPLICA  CPU    MEM   RX     TX\n"
        "2026-11-18T09:46Z  web         edge-1    1        12.3%  64Mi  1.5Ki  0B\n"
        "2026-11-18T09:46Z  11111111    22222222  0        12.3%  64Mi  1.5Ki  0B\n"
    )
    asked = "GET /api/v1/usage?limit=50&offset=0&deployment=web&node=edge-1&replica=1&since=1800s"
    assert [asked] == cli.asked()


def test_no_usage_is_said_with_what_was_asked_for() -> None:
    cli = Cli({"GET /api/v1/usage": page()})

    assert 0 == cli.run("usage", "list", "--node", "edge-1")

    assert ("", "no usage data: node=edge-1 range=900s\n") == (cli.shown, cli.said)


def test_usage_is_somebodys() -> None:
    cli = Cli()

    assert 2 == cli.run("usage", "list")

    assert "fledx: whose usage? Give --deployment, --node or both\n" == cli.said


@pytest.mark.parametrize("form", ["--json", "--yaml"])
def test_a_program_gets_the_whole_page(form: str) -> None:
    cli = Cli({"GET /api/v1/usage": page(minute())})

    assert 0 == cli.run("usage", "list", "--deployment", "web", form)

    assert "avg_blk_read_bytes" in cli.shown


def test_requests_are_a_line_a_route() -> None:
    items = [
        {"method": "GET", "path": "/api/v1/nodes", "status": "200", "count": 12},
        {"method": "POST", "path": HOSTILE, "status": "409", "count": 1},
    ]
    found = {"limit": 10, "window_secs": 60, "as_of": "2026-11-18T09:46:40Z", "items": items, "per_second": [0, 12, 1]}
    cli = Cli({"GET /api/v1/metrics/summary": json_answer(found)})

    assert 0 == cli.run("metrics", "show", "--limit", "10")

    assert lines(cli.shown)[0].split() == ["METHOD", "PATH", "STATUS", "COUNT"]
    assert lines(cli.shown)[1].split() == ["GET", "/api/v1/nodes", "200", "12", "#" * 24]
    assert lines(cli.shown)[2].split()[-2:] == ["1", "##"]
    assert lines(cli.shown)[-1] == "| #.| 13 requests in 3 s, at most 12 in one"
    assert "\x1b" not in cli.shown
    assert ["GET /api/v1/metrics/summary?limit=10"] == cli.asked()
    assert 0 == cli.run("metrics", "show", "--json")
    assert found == json.loads(cli.shown)


def test_a_chart_is_as_high_as_its_share_and_never_hides_the_little() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""
    assert (bar(1, 1000, room=10), bar(1000, 1000, room=10), bar(0, 10, room=10)) == ("█", "█" * 10, "")


def test_the_rules_and_the_dashboard_need_no_control_plane() -> None:
    cli = Cli()

    assert 0 == cli.run("metrics", "alerts")
    assert cli.shown.startswith("groups:\n- name: fledx\n  rules:\n  - alert: ")
    assert 0 == cli.run("metrics", "dashboard")
    panels = json.loads(cli.shown)["panels"]
    assert [] == cli.asked()

    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels]
    assert len(set(places)) == len(places)
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)
    assert len({each["id"] for each in panels}) == len(panels)


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_limit_has_bounds(limit: str) -> None:
    assert 2 == Cli().run("metrics", "show", "--limit", limit)
