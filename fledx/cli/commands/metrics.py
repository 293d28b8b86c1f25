"""`fledx metrics`: what is asked of the control plane, and what Prometheus and Grafana need to watch it."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def show_flags(parser: Parser) -> None:
    parser.add_argument("--limit", metavar="N", type=types.up_to(100), help="the most frequent so many, 1 to 100 [16]")


def show(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.output import document, is_document
    from fledx.cli.target import connect
    from fledx.cli.views.usage import request_chart, request_table

    found = connect(args, terminal).requests({"limit": args.limit})
    if is_document(args):
        terminal.data(document(found, args.output))
    elif found["items"]:
        terminal.data(request_table(found["items"], columns=terminal.width, unicode=terminal.unicode))
        terminal.data(request_chart(found, unicode=terminal.unicode))
        terminal.say(f"requests of the last {found['window_secs']} seconds")
    else:
        terminal.say(f"nothing was asked in the last {found['window_secs']} seconds")
    return 0


def dashboard(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.monitoring.dashboard import dashboard as made
    from fledx.cli.output import document

    terminal.data(document(made(), "json"))
    return 0


def alerts(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.monitoring.alerts import rules
    from fledx.cli.output import document

    terminal.data(document(rules(), "yaml"))
    return 0


SCRAPE = """\
Prometheus finds the series at /metrics of the control plane (port 8080) and of each agent (port 9091, loopback unless
--metrics-host says otherwise). The job names that the rules and the dashboard expect:

  scrape_configs:
    - job_name: fledx
      static_configs: [{targets: ["localhost:8080"]}]
    - job_name: fledx-agent
      static_configs: [{targets: ["localhost:9091"]}]
"""
VERBS = {
    "show": Verb(show, "requests of the last minute by method, path and status", show_flags),
    "dashboard": Verb(dashboard, "print a dashboard for Grafana to import", connects=False, epilog=SCRAPE),
    "alerts": Verb(alerts, "print alert rules for Prometheus", connects=False, epilog=SCRAPE),
}
ALIASES = {"list": "show", "ls": "show"}
