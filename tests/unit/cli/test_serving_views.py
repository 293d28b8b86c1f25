"""How a deployment is served, on the screen."""

from __future__ import annotations

from typing import Any

from fledx.cli.views.nodes import node_screen
from fledx.cli.views.serving import gateway_line, gateway_table, serving_lines
from fledx.cli.views.status import status_screen

GATE = {"node_id": "n1", "node": "gate", "state": "serving", "ways": {"0": "local", "10": "tunnel", "2": "direct"}}


def item(*gateways: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"serving": {"urls": ["https://shop.example.com/"], "gateways": list(gateways), **fields}}


def test_urls_and_what_is_in_the_way_are_lines() -> None:
    assert serving_lines({}) == [("url", None), ("not served", None)]
    assert serving_lines(item(reason="no gateway\x1b[2J")) == [
        ("url", "https://shop.example.com/"),
        ("not served", "no gateway\\x1b[2J"),
    ]


def test_each_gateway_is_a_row_with_the_way_to_each_replica() -> None:
    bad = {"node_id": "n2", "node": "g\x1b2", "state": "failed", "reason": "image\nis missing", "ways": {}}
    old = {**GATE, "node": "old", "refused": "route x", "ways": {}}
    assert gateway_table(item()) is None
    assert (gateway_table(item(GATE)) or "").splitlines() == [
        "GATEWAY  STATE    REACHES REPLICA",
        "gate     serving  0 local, 2 direct, 10 tunnel",
    ]
    assert (gateway_table(item(GATE, bad, old)) or "").splitlines() == [
        "GATEWAY  STATE    REACHES REPLICA               NOTE",
        "gate     serving  0 local, 2 direct, 10 tunnel",
        "g\\x1b2   failed   -                             image …",
        "old      serving  -                             goes on with what it had: route x",
    ]


def test_a_node_says_how_it_does_as_a_gateway() -> None:
    facts = {"http_port": 80, "https_port": 443}
    assert gateway_line({}) is None
    assert gateway_line({"gateway": {"http_port": 10000}}) == "configured on 10000"
    state = {"state": "failed", "reason": "port 80 is taken"}
    node = {"node_id": "n1", "name": "gate", "status": "ready", "labels": {}, "gateway": facts, "gateway_state": state}
    assert gateway_line(node) == "failed on 80 and 443; port 80 is taken"
    assert "failed on 80 and 443; port 80 is taken" in node_screen(node, 0.0, names={})


def test_status_tells_what_needs_attention_below_the_counts() -> None:
    shown = status_screen({"problems": ["gateway gate is failed: \x1b]0;x\x07"]}, None, None, 0.0)
    assert shown.splitlines()[2:] == ["Needs attention:", "  gateway gate is failed: \\x1b]0;x\\x07"]
