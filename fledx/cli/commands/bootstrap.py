"""`fledx bootstrap`: from a bare host to a running control plane or node, and what comes after."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser
from fledx.cli.terminal import Terminal
from fledx.cli.verbs import Run, Verb
from fledx.errors import InvalidSpec

ROLES = ("cp", "agent")
NOT_REACHED, INTERRUPTED = 3, 130


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
    from fledx.bootstrap import run as bootstrap

    screen = _screen(args, terminal)
    asked = bootstrap.ControlPlaneWanted(
        hostname=args.cp_hostname, server_port=args.server_port, tunnel_port=args.tunnel_port
    )
    outcomes = bootstrap.bootstrap_control_plane(
        _hosts(args, terminal, screen),
        asked,
        version=args.version,
        mode=_mode(args),
        save=lambda access: _save(access, args, terminal),
        tell=screen.tell,
    )
    return _end(outcomes, args, terminal, _control_plane_line)


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
    if not args.ssh_host and not args.local:
        raise InvalidSpec("--ssh-host", "which host? Name it, or say --local for this machine")
    from fledx.bootstrap import run as bootstrap

    join = _join(args, terminal)
    screen = _screen(args, terminal)
    asked = bootstrap.AgentWanted(
        name=args.name,
        labels=dict(args.label or ()),
        cpu_millis=args.capacity_cpu_millis,
        memory_bytes=args.capacity_memory_bytes,
        install_docker=args.install_docker,
        join=join,
    )
    outcomes = bootstrap.bootstrap_agents(
        _hosts(args, terminal, screen),
        asked,
        version=args.version,
        mode=_mode(args),
        connect=None if join else _connect(args, terminal),
        tell=screen.tell,
    )
    return _end(outcomes, args, terminal, _agent_line)


def role_flag(parser: Parser) -> None:
    parser.add_argument("role", metavar="ROLE", nargs="?", choices=ROLES, help="cp or agent [whatever is there]")


def status_flags(parser: Parser) -> None:
    role_flag(parser)
    host_flags(parser)
    place_flags(parser)


def status(args: Namespace, terminal: Terminal) -> int:
    from fledx.bootstrap import run as bootstrap
    from fledx.cli.views.bootstrap import described

    screen = _screen(args, terminal)
    outcomes = bootstrap.status(_hosts(args, terminal, screen), _roles(args), tell=screen.tell)
    return _end(outcomes, args, terminal, described)


def upgrade_flags(parser: Parser) -> None:
    version_flag(parser, "latest")
    parser.add_argument("--back", action="store_true", help="go back to the version it ran before")
    change_flags(parser)


def upgrade(args: Namespace, terminal: Terminal) -> int:
    if args.back and args.version:
        raise InvalidSpec("--back", "and --version are two answers to one question")
    from fledx.bootstrap import run as bootstrap

    screen = _screen(args, terminal)
    outcomes = bootstrap.upgrade_hosts(
        _hosts(args, terminal, screen),
        version=args.version,
        back=args.back,
        mode=_mode(args),
        connect=_connect(args, terminal),
        tell=screen.tell,
    )
    return _end(outcomes, args, terminal, _upgrade_line)


def uninstall_flags(parser: Parser) -> None:
    role_flag(parser)
    parser.add_argument("--purge", action="store_true", help="remove settings, data and users too")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    change_flags(parser)


def uninstall(args: Namespace, terminal: Terminal) -> int:
    from fledx.bootstrap import run as bootstrap

    where = ", ".join(args.ssh_host or ["this machine"])
    what = f"take {args.role or 'fledx'} off {where}"
    if args.purge:
        what += " with all its data" + ("" if args.role == "cp" else ", and have the control plane forget its node")
    if not args.dry_run and not terminal.ask(f"{what}?", yes=args.yes):
        terminal.say("nothing was changed")
        return 1
    screen = _screen(args, terminal)
    outcomes = bootstrap.uninstall_hosts(
        _hosts(args, terminal, screen), _roles(args), purge=args.purge, mode=_mode(args), tell=screen.tell
    )
    if args.purge and not args.dry_run:
        _forget(outcomes, args, terminal)
    return _end(outcomes, args, terminal, _uninstall_line)


def _forget(outcomes: Sequence[Any], args: Namespace, terminal: Terminal) -> None:
    """Have the control plane forget the nodes that are gone for good; where it cannot be asked, that is told."""
    from fledx.cli.target import connect
    from fledx.errors import FledxError, NotFound

    for outcome in outcomes:
        if not outcome.well or outcome.facts.get("node_id") is None:
            continue
        try:
            connect(args, terminal).delete_node(outcome.facts["node_id"], force=True)
            outcome.facts["forgotten"] = True
        except NotFound:
            outcome.facts["forgotten"] = True
        except FledxError as fault:
            outcome.facts["not_forgotten"] = fault.text


def _roles(args: Namespace) -> Sequence[Any]:
    return (args.role,) if args.role else ROLES


def _screen(args: Namespace, terminal: Terminal) -> Any:
    from fledx.cli.views.bootstrap import Progress

    return Progress(terminal, args.ssh_host or ())


def _mode(args: Namespace) -> Any:
    from fledx.bootstrap.run import Mode

    return Mode(dry_run=args.dry_run, wait=not args.no_wait, wait_secs=args.wait_timeout)


def _hosts(args: Namespace, terminal: Terminal, screen: Any) -> Any:
    from fledx.bootstrap.run import Hosts, Places, SshOptions

    if args.local and args.ssh_host:
        raise InvalidSpec("--local", "means this machine, and --ssh-host another")
    ask = _Questions(terminal, screen)
    # Asked before all else: a Ctrl-C at the prompt then ends everything, which it could not in a thread of its own.
    needed = args.sudo_interactive and (args.ssh_host or os.geteuid() != 0)
    password = ask("sudo's password: ") if needed else None
    return Hosts(
        targets=tuple(args.ssh_host or ()),
        ssh=SshOptions(
            user=args.ssh_user,
            port=args.ssh_port,
            identity_file=args.ssh_identity_file,
            interactive=args.ssh_interactive,
            connect_timeout=args.ssh_connect_timeout_secs,
            host_keys=args.ssh_host_key_checking,
        ),
        places=Places(bin_dir=args.bin_dir, config_dir=args.config_dir, data_dir=args.data_dir),
        sudo_password=None if password is None else (lambda: password),
        secret=ask if args.ssh_interactive else None,
    )


class _Questions:
    """Asks each question once, however many hosts want to know, without echo where there is a terminal."""

    def __init__(self, terminal: Terminal, screen: Any) -> None:
        self._terminal = terminal
        self._screen = screen
        self._answers: dict[str, str] = {}

    def __call__(self, question: str) -> str:
        return str(self._screen.ask(lambda: self._answer(question)))

    def _answer(self, question: str) -> str:
        if question not in self._answers:
            self._answers[question] = self._read(question)
        return self._answers[question]

    def _read(self, question: str) -> str:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:  # a script: the answer comes by its standard input
            return self._terminal.inp.readline().rstrip("\n")
        from getpass import getpass

        return getpass(question)


def _connect(args: Namespace, terminal: Terminal) -> Callable[[], Any]:
    """Opens the control plane of the profile, anew for each host, as a client serves one thread."""
    from fledx.cli.target import connect

    return lambda: connect(args, terminal)


def _join(args: Namespace, terminal: Terminal) -> str | None:
    if args.join is None:
        return None
    if not args.local:
        raise InvalidSpec("--join", "is for a host that joins by itself: give --local with it, and no --ssh-host")
    if args.join == "-":
        return terminal.inp.readline().strip()
    if not args.join.startswith("@"):
        return str(args.join)
    try:
        with open(args.join[1:], encoding="ascii", errors="replace") as opened:
            return opened.read().strip()
    except OSError as problem:
        raise InvalidSpec("--join", f"{args.join[1:]} cannot be read: {problem.strerror}") from None


def _save(access: Any, args: Namespace, terminal: Terminal) -> str:
    """Write the profile of a new control plane, its authority beside it; the path of the latter."""
    from fledx.cli import profiles

    file = profiles.path(terminal.environ)
    known = profiles.load(file)
    name = args.profile or _profile_for(access.url, known)
    ca_path = _save_authority(os.path.dirname(file), name, access.authority)
    values = {"control_plane_url": access.url, "operator_token": access.token, "ca_cert_path": ca_path}
    changed = known.with_profile(name, values).with_default(name)
    if changed != known:
        profiles.save(changed, file)
        terminal.say(f"profile {name} written to {file}; it is the default one now")
    return ca_path


def _save_authority(directory: str, name: str, pem: str) -> str:
    """Keep the authority beside the profiles, whole or not at all; the path, in which only plain letters stand."""
    path = os.path.join(directory, "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + "-ca.pem")
    fresh = f"{path}.{os.getpid()}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as opened:
            opened.write(pem)
        os.replace(fresh, path)
    except OSError as problem:
        raise InvalidSpec("", f"{path} cannot be written: {problem.strerror}") from None
    return path


def _profile_for(url: str, known: Any) -> str:
    """The profile that has this URL already, else `default`, else a new one named by the host: none is overwritten."""
    for name, values in known.known.items():
        if values.get("control_plane_url") == url:
            return str(name)
    if "default" not in known.known:
        return "default"
    return url.partition("://")[2].rpartition(":")[0].strip("[]")


def _end(outcomes: Sequence[Any], args: Namespace, terminal: Terminal, line: Callable[[Any], str]) -> int:
    """Print what came of it and choose the exit code."""
    from fledx.cli.output import document, is_document
    from fledx.cli.views.bootstrap import ended

    if is_document(args):
        terminal.data(document({"hosts": [outcome.encoded() for outcome in outcomes]}, args.output))
    else:
        terminal.data("\n".join(line(outcome) for outcome in outcomes if outcome.well))
    for outcome in outcomes:
        if not outcome.well:
            terminal.complain(ended(outcome))
    codes = {outcome.code for outcome in outcomes if not outcome.well}
    if not codes:
        return 0
    return NOT_REACHED if codes == {"not_reached"} else 1


def _control_plane_line(outcome: Any) -> str:
    from fledx.cli.views.bootstrap import ended

    return f"{ended(outcome)}\ncontrol plane {outcome.facts['version']} at {outcome.facts['url']}"


def _agent_line(outcome: Any) -> str:
    from fledx.cli.views.bootstrap import ended

    facts = outcome.facts
    return f"{ended(outcome)}: node {facts.get('name')} ({facts.get('node_id') or 'not joined yet'})"


def _upgrade_line(outcome: Any) -> str:
    from fledx.cli.views.bootstrap import ended

    return f"{ended(outcome)}: {', '.join(outcome.facts['roles'])} {outcome.facts['version']}"


def _uninstall_line(outcome: Any) -> str:
    from fledx.cli.views.bootstrap import ended

    facts = outcome.facts
    kept = ", ".join(facts["kept"])
    listed = "; the control plane has forgotten its node" if facts.get("forgotten") else ""
    if why := facts.get("not_forgotten"):
        listed = f"\nthe control plane still lists its node ({why}): `fledx nodes delete --force {facts['node_id']}`"
    return ended(outcome) + (f"; kept: {kept}" if kept else "") + listed


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
