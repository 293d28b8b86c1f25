"""Every list and every show of every noun has a test that holds what it prints, whole, as a text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from fledx.cli.words import NOUNS
from tests.fakes.transport import json_answer
from tests.unit.cli.harness import EDGE1, WEB, Cli, Routes, ago, deployment, event, instance, lines, node, page
from tests.unit.cli.test_access_commands import line
from tests.unit.cli.test_certificates_command import certificate
from tests.unit.cli.test_configs_command import config

HERE = Path(__file__).parent
READING = ("list", "show", "history")
VOLUME = {
    "deployment": "db",
    "replica_number": 0,
    "volume": "data",
    "node": "edge-1",
    "state": "current",
    "name": "fledx-db-0-data",
    "node_id": EDGE1,
    "deployment_id": WEB,
    "created_at": ago(7200),
}
ASKED = {"method": "GET", "path": "/api/v1/nodes", "status": "200", "count": 12}
PENDING = deployment(
    name="api", deployment_id=EDGE1, status="pending", ready_replicas=0, assignments=[], instances=[], reason="no nodes"
)
AWAY = node(name="edge-2", status="unreachable", reason="no sign of life for 20 s")
MACHINE = node(runtime="docker 27", address="198.51.100.7", agent_version="0.1.0", instances=[instance(0)])
#: What the control plane answers, by what is asked of it.
ROUTES: Routes = {
    "GET /api/v1/deployments?": page(deployment(), PENDING),
    "GET /api/v1/deployments/web": json_answer(deployment()),
    "GET /api/v1/events": json_answer({"items": [event(1)]}),
    "GET /api/v1/nodes?": page(node(), AWAY),
    "GET /api/v1/nodes/web": json_answer(MACHINE),
    "GET /api/v1/configs/web": json_answer(config()),
    "GET /api/v1/volumes?": page(VOLUME, {**VOLUME, "replica_number": 1, "state": "left"}),
    "GET /api/v1/certificates?": page(certificate(issuer="CN=R11")),
    "GET /api/v1/certificates/web": json_answer(certificate(issuer="CN=R11")),
    "GET /api/v1/audit-logs?": page(line(2), line(1)),
    "GET /api/v1/metrics/summary": json_answer(
        {"limit": 10, "window_secs": 60, "as_of": ago(0), "items": [ASKED], "per_second": [0, 12, 1]}
    ),
}
TEXTS = {
    ("deployments", "list"): """\
NAME  READY  STATUS   RESTARTS  AGE  NODES   PORTS               ID        REASON
web   1/1    running  0         2h   edge-1  edge-1:30000 -> 80  11111111
api   0/1    pending            2h   -       auto -> 80          22222222  no nodes
""",
    ("nodes", "list"): """\
NAME    STATUS       SEEN  ARCH   CPU  MEMORY  ID        REASON
edge-1  ready        2s    amd64  4    8Gi     22222222
edge-2  unreachable  2s    amd64  4    8Gi     22222222  no sign of life for 20 s
""",
    ("nodes", "show"): """\
edge-1  ready

  id         22222222-bbbb-4bbb-8bbb-222222222222
  since      60m ago
  last seen  2s ago
  machine    linux/amd64
  cpu        4
  memory     8Gi
  labels     region=eu
  address    198.51.100.7
  runtime    docker 27
  agent      0.1.0
  joined     24h ago

REPLICA  STATE    RESTARTS  AGE  ENDPOINTS  WHY
web/0    running  0         3m   -
""",
    ("configs", "show"): """\
name         shop
id           44444444-dddd-4ddd-8ddd-444444444444
version      3, 3m ago
deployments  web
nodes        none

entries
  A = 1
  KEY = secret api

files
  /etc/x: 5 bytes
  /run/tls: secret tls
""",
    ("volumes", "list"): """\
VOLUME  REPLICA  NODE    STATE        AGE  NAME ON THE NODE
data    db/0     edge-1  in use       2h   fledx-db-0-data
data    db/1     edge-1  left behind  2h   fledx-db-0-data
""",
    ("certificates", "list"): """\
NAME  HOSTS                                     ENDS IN  USED BY
shop  shop.example.com, *.shop.example.com, +1  20d      web
""",
    ("certificates", "show"): """\
name         shop
hosts        shop.example.com, *.shop.example.com, c.example
shown for    shop.example.com
used by      web
issuer       CN=R11
valid        2026-11-17T11:06:40.000Z to 2026-12-08T11:07:40.000Z
fingerprint  abababababababababababababababababababababababababababababababab
version      1, 60s ago
""",
    ("audit", "list"): """\
NO  AGO  WHO    DID                TO   WHAT
1   60s  alice  deployment.update  web  replicas: 1 -> 3
2   2m   alice  deployment.update  web  replicas: 1 -> 3
""",
    ("metrics", "show"): """\
METHOD  PATH           STATUS  COUNT
GET     /api/v1/nodes  200     12     ########################
| #.| 13 requests in 3 s, at most 12 in one
""",
    ("deployments", "show"): """\
web  running  1/1 ready

  id        11111111-aaaa-4aaa-8aaa-111111111111
  image     nginx:1.27
  ports     auto -> 80
  revision  1 (generation 1)
  created   2h ago

REPLICA  NODE    STATE    RESTARTS  AGE  PORTS               WHY
0        edge-1  running  0         3m   edge-1:30000 -> 80

What happened last:
AGO  EVENT            OF     WHY
60s  replica.started  web/0  it was assigned here
""",
}


def readers() -> Iterator[tuple[str, str]]:
    """Every command that shows things for people to read."""
    for noun in NOUNS:
        module = import_module(f"fledx.cli.commands.{noun.replace('-', '_')}")
        yield from ((noun, verb) for verb in getattr(module, "VERBS", {}) if verb in READING)


def spoken(function: ast.AST) -> set[tuple[str, str]]:
    """Pairs of words that stand next to each other in what a test calls or lists."""
    found: set[tuple[str, str]] = set()
    for each in ast.walk(function):
        parts = each.args if isinstance(each, ast.Call) else each.elts if isinstance(each, ast.List | ast.Tuple) else []
        words = [part.value if isinstance(part, ast.Constant) else None for part in parts]
        found |= {(a, b) for a, b in pairwise(words) if isinstance(a, str) and isinstance(b, str)}
    return found


def is_golden(function: ast.AST) -> bool:
    """Whether it holds a text of the screen: words in capitals that head columns, or lines of fields."""
    texts = [
        node.value for node in ast.walk(function) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return any(
        sum(word.isupper() for word in text.split()) >= 2 or "  id  " in text or "\n  " in text for text in texts
    )


def golden() -> set[tuple[str, str]]:
    """The commands that a test holds to a text."""
    found: set[tuple[str, str]] = set()
    for path in HERE.glob("test_*.py"):
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.FunctionDef) and each.name.startswith("test_") and is_golden(each):
                found |= spoken(each)
    return found


GOLDEN = golden() | set(TEXTS)


@pytest.mark.parametrize("command", TEXTS, ids=" ".join)
def test_a_command_prints_its_view_to_the_letter(command: tuple[str, str]) -> None:
    cli = Cli(dict(ROUTES))
    assert 0 == cli.run(*command, *(["web"] if command[1] == "show" and command[0] != "metrics" else []))
    assert TEXTS[command].splitlines() == lines(cli.shown)


@pytest.mark.parametrize(("noun", "verb"), [*readers()])
def test_what_is_read_by_people_is_held_by_a_text(noun: str, verb: str) -> None:
    assert (noun, verb) in GOLDEN, f"no test of tests/unit/cli holds what `fledx {noun} {verb}` prints"
