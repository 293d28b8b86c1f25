"""The verbs of `fledx bootstrap`: hosts are made, looked at, upgraded and cleared; then it is told what came of it."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Sequence

from fledx.bootstrap import run as bootstrap
from fledx.bootstrap.run import ROLES, Access, Outcome, Role
from fledx.cli import profiles
from fledx.cli.hosts import hosts_of, mode_of, screen_of
from fledx.cli.joining import join_string
from fledx.cli.output import document, is_document
from fledx.cli.target import connect
from fledx.cli.terminal import Terminal
from fledx.cli.views.bootstrap import described, ended
from fledx.client.api import ControlPlane
from fledx.errors import FledxError, InvalidSpec, NotFound

NOT_REACHED = 3


def cp(args: Namespace, terminal: Terminal) -> int:
    """Make a host the control plane."""
    screen = screen_of(args, terminal)
    asked = bootstrap.ControlPlaneWanted(
        hostname=args.cp_hostname, server_port=args.server_port, tunnel_port=args.tunnel_port
    )
    outcomes = bootstrap.bootstrap_control_plane(
        hosts_of(args, terminal, screen),
        asked,
        version=args.version,
        mode=mode_of(args),
        save=lambda access: _save(access, args, terminal),
        tell=screen.tell,
    )
    return _end(outcomes, args, terminal, _control_plane_line)


def agent(args: Namespace, terminal: Terminal) -> int:
    """Make hosts nodes."""
    if not args.ssh_host and not args.local:
        raise InvalidSpec("--ssh-host", "which host? Name it, or say --local for this machine")
    if args.join is not None and not args.local:
        raise InvalidSpec("--join", "is for a host that joins by itself: give --local with it, and no --ssh-host")
    join = join_string(args.join, "--join", terminal)
    screen = screen_of(args, terminal)
    asked = bootstrap.AgentWanted(
        name=args.name,
        labels=dict(args.label or ()),
        cpu_millis=args.capacity_cpu_millis,
        memory_bytes=args.capacity_memory_bytes,
        install_docker=args.install_docker,
        join=join,
    )
    outcomes = bootstrap.bootstrap_agents(
        hosts_of(args, terminal, screen),
        asked,
        version=args.version,
        mode=mode_of(args),
        connect=None if join else _opening(args, terminal),
        tell=screen.tell,
    )
    return _end(outcomes, args, terminal, _agent_line)


def status(args: Namespace, terminal: Terminal) -> int:
    """What is on hosts."""
    screen = screen_of(args, terminal)
    outcomes = bootstrap.status(hosts_of(args, terminal, screen), _roles(args), tell=screen.tell)
    return _end(outcomes, args, terminal, described, apart="\n\n")


def upgrade(args: Namespace, terminal: Terminal) -> int:
    """Have hosts run another version."""
    if args.back and args.version:
        raise InvalidSpec("--back", "and --version are two answers to one question")
    screen = screen_of(args, terminal)
    outcomes = bootstrap.upgrade_hosts(
        hosts_of(args, terminal, screen),
        version=args.version,
        back=args.back,
        mode=mode_of(args),
        connect=_opening(args, terminal),
        tell=screen.tell,
    )
    return _end(outcomes, args, terminal, _upgrade_line)


def uninstall(args: Namespace, terminal: Terminal) -> int:
    """Take fledx off hosts."""
    where = ", ".join(args.ssh_host or ["this machine"])
    what = f"take {f'the {args.role}' if args.role else 'fledx'} off {where}"
    if args.purge:
        what += " with all its data" + ("" if args.role == "cp" else ", and have the control plane forget its node")
    if not args.dry_run and not terminal.ask(f"{what}?", yes=args.yes, for_good=args.purge):
        terminal.say("nothing was changed")
        return 1
    screen = screen_of(args, terminal)
    outcomes = bootstrap.uninstall_hosts(
        hosts_of(args, terminal, screen), _roles(args), purge=args.purge, mode=mode_of(args), tell=screen.tell
    )
    if args.purge and not args.dry_run:
        _forget(outcomes, args, terminal)
    return _end(outcomes, args, terminal, _uninstall_line)


def _forget(outcomes: Sequence[Outcome], args: Namespace, terminal: Terminal) -> None:
    """Have the control plane forget the nodes that are gone for good; where it cannot be asked, that is told."""
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


def _roles(args: Namespace) -> Sequence[Role]:
    return (args.role,) if args.role else ROLES


def _opening(args: Namespace, terminal: Terminal) -> Callable[[], ControlPlane]:
    """Opens the control plane of the profile, anew for each host, as a client serves one thread."""
    return lambda: connect(args, terminal)


def _save(access: Access, args: Namespace, terminal: Terminal) -> str:
    """Write the profile of a new control plane, its authority beside it; the path of the latter."""
    file = profiles.path(terminal.environ)
    known = profiles.load(file)
    name = args.profile or profiles.name_for(access.url, known)
    ca_path = profiles.save_authority(os.path.dirname(file), name, access.authority)
    values = {"control_plane_url": access.url, "operator_token": access.token, "ca_cert_path": ca_path}
    changed = known.with_profile(name, values).with_default(name)
    if changed != known:
        profiles.save(changed, file)
        terminal.say(f"profile {name} written to {file}; it is the default one now")
    return ca_path


def _end(
    outcomes: Sequence[Outcome],
    args: Namespace,
    terminal: Terminal,
    line: Callable[[Outcome], str],
    *,
    apart: str = "\n",
) -> int:
    """Print what came of it and choose the exit code."""
    if is_document(args):
        terminal.data(document({"hosts": [outcome.encoded() for outcome in outcomes]}, args.output))
    else:
        terminal.data(apart.join(line(outcome) for outcome in outcomes if outcome.well))
    for outcome in outcomes:
        if not outcome.well:
            terminal.complain(ended(outcome))
    codes = {outcome.code for outcome in outcomes if not outcome.well}
    if not codes:
        return 0
    return NOT_REACHED if codes == {"not_reached"} else 1


def _control_plane_line(outcome: Outcome) -> str:
    where = f"control plane {outcome.facts['version']} at {outcome.facts['url']}"
    only_planned = outcome.steps and not outcome.changed
    return ended(outcome) if only_planned else f"{ended(outcome)}\n{where}"


def _agent_line(outcome: Outcome) -> str:
    facts = outcome.facts
    return f"{ended(outcome)}: node {facts.get('name')} ({facts.get('node_id') or 'not joined yet'})"


def _upgrade_line(outcome: Outcome) -> str:
    return f"{ended(outcome)}: {', '.join(outcome.facts['roles'])} {outcome.facts['version']}"


def _uninstall_line(outcome: Outcome) -> str:
    facts = outcome.facts
    kept = ", ".join(facts["kept"])
    listed = "; the control plane has forgotten its node" if facts.get("forgotten") else ""
    if why := facts.get("not_forgotten"):
        listed = f"\nthe control plane still lists its node ({why}): `fledx nodes delete --force {facts['node_id']}`"
    return ended(outcome) + (f"; kept: {kept}" if kept else "") + listed
