"""`fledx agent`: run a node's agent."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Verb


def flags(parser: Parser) -> None:
    from fledx.cli.roles import add_settings
    from fledx.settings.agent import AgentSettings

    parser.add_argument(
        "--join",
        metavar="STRING",
        help="join with this string of `fledx nodes join-command` unless joined already; - is stdin, @FILE a file"
        " [$FLEDX_AGENT_JOIN]",
    )
    parser.add_argument("--json-logs", action="store_true", help="log one JSON object a line")
    add_settings(parser, AgentSettings)


def run(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli.joining import join_string
    from fledx.cli.logs import set_up
    from fledx.cli.roles import settings_of
    from fledx.settings.agent import AgentSettings

    settings = settings_of(args, terminal, AgentSettings)
    join = join_string(args.join or terminal.environ.get("FLEDX_AGENT_JOIN"), "join", terminal)
    set_up(terminal.environ, json_lines=args.json_logs)
    from fledx.agent.run import main

    return main(settings, join=join, environ=terminal.environ)


VERB = Verb(run, "run a node's agent", flags, connects=False)
