"""`fledx bootstrap`: from a bare host to a running control plane or node, and what comes after."""

from __future__ import annotations

from argparse import Namespace

from fledx.cli import types
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Run, Verb

ROLES = ("cp", "agent")
INTERRUPTED = 130


def host_flags(parser: Parser) -> None:
    group = parser.add_argument_group("which host, and how to get in")
    group.add_argument(
        "--ssh-host",
        "--host",
        dest="ssh_host",
        metavar="[USER@]HOST",
        action="append",
        help="over SSH, by name, address or alias of ~/.ssh/config; repeatable",
    )
    group.add_argument("--local", action="store_true", help="this machine")
    group.add_argument("--ssh-user", metavar="USER", help="user to log in as")
    group.add_argument("--ssh-port", metavar="PORT", type=types.port_number, help="port of sshd [22]")
    group.add_argument("--ssh-identity-file", metavar="PATH", help="private key")
    group.add_argument("--ssh-interactive", action="store_true", help="ask for a passphrase or password if need be")
    group.add_argument(
        "--ssh-host-key-checking",
        choices=("accept-new", "strict", "off"),
        default="accept-new",
        help="what to do with a host that is not known; a changed key is always refused [accept-new]",
    )
    group.add_argument("--ssh-connect-timeout-secs", metavar="SECS", type=types.some_seconds, default=10.0, help="[10]")
    group.add_argument("--sudo-interactive", action="store_true", help="ask once for sudo's password if it wants one")


def place_flags(parser: Parser) -> None:
    group = parser.add_argument_group("where things lie on the host")
    group.add_argument("--bin-dir", metavar="DIR", help="programs [/usr/local/bin]")
    group.add_argument("--config-dir", metavar="DIR", help="settings [/etc/fledx]")
    group.add_argument("--data-dir", metavar="DIR", help="data [/var/lib/fledx]")


def change_flags(parser: Parser) -> None:
    group = parser.add_argument_group("how far to go")
    group.add_argument("--dry-run", action="store_true", help="look and print the plan; change nothing")
    group.add_argument("--no-wait", action="store_true", help="do not wait until it is seen to work")
    group.add_argument(
        "--wait-timeout",
        "--wait-timeout-secs",
        dest="wait_timeout",
        metavar="TIME",
        type=types.some_seconds,
        default=120.0,
        help="how long to wait for that [120s]",
    )
    host_flags(parser)
    place_flags(parser)


def version_flag(parser: Parser, usual: str) -> None:
    parser.add_argument(
        "--version", metavar="VERSION|FILE", help=f"`latest` is this very file; or a fledx.pyz by its path [{usual}]"
    )


def cp_flags(parser: Parser) -> None:
    parser.add_argument("--cp-hostname", metavar="HOST", required=True, help="name or address by which nodes reach it")
    parser.add_argument("--server-port", metavar="PORT", type=types.port_number, help="port of the API [8080]")
    parser.add_argument("--tunnel-port", metavar="PORT", type=types.port_number, help="port for the nodes [7443]")
    version_flag(parser, "latest")
    change_flags(parser)


def cp(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import bootstrapping

    return bootstrapping.cp(args, terminal)


def agent_flags(parser: Parser) -> None:
    parser.add_argument("--name", metavar="NAME", help="name of the node [the SSH host's]")
    parser.add_argument("--label", metavar="KEY=VALUE", type=types.pair, action="append", help="label; repeatable")
    parser.add_argument("--capacity-cpu-millis", metavar="N", type=types.millis, help="CPU offered, in 1/1000 cores")
    parser.add_argument("--capacity-memory-bytes", metavar="N", type=types.memory, help="memory offered: 8Gi or bytes")
    parser.add_argument(
        "--install-docker", action="store_true", help="install the distribution's Docker if it is absent"
    )
    parser.add_argument(
        "--join", metavar="STRING", help="with --local: join with this string; - is stdin, @FILE a file"
    )
    version_flag(parser, "the control plane's")
    change_flags(parser)


def agent(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import bootstrapping

    return bootstrapping.agent(args, terminal)


def role_flag(parser: Parser) -> None:
    parser.add_argument("role", metavar="ROLE", nargs="?", choices=ROLES, help="cp or agent [whatever is there]")


def status_flags(parser: Parser) -> None:
    role_flag(parser)
    host_flags(parser)
    place_flags(parser)


def status(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import bootstrapping

    return bootstrapping.status(args, terminal)


def upgrade_flags(parser: Parser) -> None:
    version_flag(parser, "latest")
    parser.add_argument("--back", action="store_true", help="go back to the version it ran before")
    change_flags(parser)


def upgrade(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import bootstrapping

    return bootstrapping.upgrade(args, terminal)


def uninstall_flags(parser: Parser) -> None:
    role_flag(parser)
    parser.add_argument("--purge", action="store_true", help="remove settings, data and users too")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    change_flags(parser)


def uninstall(args: Namespace, terminal: Terminal) -> int:
    from fledx.cli import bootstrapping

    return bootstrapping.uninstall(args, terminal)


def _resumable(run: Run) -> Run:
    """The command, and a word on how it goes on after Ctrl-C."""

    def guarded(args: Namespace, terminal: Terminal) -> int:
        try:
            return run(args, terminal)
        except KeyboardInterrupt:
            terminal.say("\ninterrupted; the same command goes on from there")
            return INTERRUPTED

    return guarded


VERBS = {
    "cp": Verb(_resumable(cp), "make a host the control plane, and write a profile for it", cp_flags),
    "agent": Verb(_resumable(agent), "make hosts nodes", agent_flags),
    "status": Verb(status, "what of fledx is on hosts, and how it fares", status_flags),
    "upgrade": Verb(_resumable(upgrade), "have hosts run another version, or the one before", upgrade_flags),
    "uninstall": Verb(_resumable(uninstall), "take fledx off hosts; data stays unless --purge", uninstall_flags),
}
