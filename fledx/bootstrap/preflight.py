"""Whether a host can become what it should: everything that stands in the way, found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from fledx.bootstrap.distribution import engine_script, install_command
from fledx.bootstrap.facts import HostFacts, Python
from fledx.bootstrap.kernel import unraisable
from fledx.bootstrap.layout import ROLES, Role, unit_name, unit_path
from fledx.bootstrap.wanted import DEFAULT_PORTS, Trouble, Wanted
from fledx.models.node import OLDEST_ENGINE_API

CLOCK_LIMIT_SECS = 300.0
"""How far a clock may be off: tokens and certificates have lives, and five minutes is what logs can bear."""

DATA_BYTES = 256 * 2**20
"""Room for data that a role cannot do without; a control plane of 1,000 nodes took less in a month."""

OLDEST_SYSTEMD = 247
"""ProtectProc= and ProcSubset= came with it; older ones start the unit without them."""

MACHINES = {"cp": ("x86_64", "aarch64"), "agent": ("x86_64", "aarch64", "armv7l")}


def troubles(facts: HostFacts, wanted: Wanted, roles: tuple[Role, ...]) -> list[Trouble]:
    """All that is wrong, the fatal first."""
    found = [
        *_system(facts, roles),
        *_python(facts, roles),
        *_room(facts, wanted),
        *_clock(facts, wanted),
        *_elsewhere(facts),
        *_strangers(facts, roles),
        *_ports(facts, wanted),
    ]
    if "agent" in wanted.roles:
        found += [*_docker(facts, wanted), *_other_control_plane(facts, wanted)]
        found += unraisable(facts, facts.settings("agent"))
    if wanted.reach is not None:
        found.append(wanted.reach)
    return sorted(found, key=lambda trouble: not trouble.fatal)


def _system(facts: HostFacts, roles: tuple[Role, ...]) -> Iterator[Trouble]:
    if facts.system != "Linux":
        yield Trouble(text=f"it runs {facts.system}", mend="fledx needs a host with Linux")
        return
    for role in roles:
        if facts.machine not in MACHINES[role]:
            made_for = ", ".join(MACHINES[role])
            yield Trouble(
                text=f"its architecture is {facts.machine}",
                mend=f"take a host, or a 64-bit system, of one of {made_for}",
            )
    if "agent" in roles and facts.machine == "armv7l":
        yield Trouble(
            text="on a 32-bit system the agent cannot keep central secrets",
            mend="a 64-bit system on the same machine can",
            fatal=False,
        )
    if facts.systemd is None:
        yield Trouble(text="systemd does not run it", mend="take a host whose services systemd runs")
    elif facts.systemd < OLDEST_SYSTEMD:
        yield Trouble(
            text=f"systemd {facts.systemd} does not know all protections of the service",
            mend=f"{OLDEST_SYSTEMD} and later do",
            fatal=False,
        )


def _python(facts: HostFacts, roles: tuple[Role, ...]) -> Iterator[Trouble]:
    python = facts.python
    if python is not None:
        if "cp" in roles and (python.bits < 64 or not python.libc.startswith("glibc")):
            yield Trouble(
                text=f"{python.path} is built for {python.bits} bits and {python.libc}",
                mend="a control plane needs a 64-bit Python on glibc: take another host for it",
            )
        return
    if not facts.pythons:
        yield Trouble(text="it has no Python", mend=f"on the host: {install_command(facts.families, 'python3')}")
        return
    newest = max(facts.pythons, key=lambda python: python.version)
    if newest.version < (3, 10):
        yield Trouble(
            text=f"{newest.path} is Python {_dotted(newest)}",
            mend="fledx needs 3.10 or newer, beside it if need be: " + install_command(facts.families, "python3.11"),
        )
    else:
        yield Trouble(
            text=f"{newest.path} lacks modules of Python's own library: {', '.join(newest.missing)}",
            mend=f"install the whole Python: {install_command(facts.families, 'python3')}",
        )


def _dotted(python: Python) -> str:
    return ".".join(map(str, python.version))


def _room(facts: HostFacts, wanted: Wanted) -> Iterator[Trouble]:
    layout = facts.layout
    shipped = {archive.digest for archive in facts.archives.values()}
    needed = {
        layout.bin_dir: 0 if wanted.package.digest in shipped else len(wanted.package.data) * 5 // 4,
        layout.data_dir: DATA_BYTES,
        layout.config_dir: 2**20,
    }
    for path, least in needed.items():
        space = facts.spaces.get(path)
        if space is None:
            continue
        if not space.writable:
            flag = {layout.bin_dir: "--bin-dir", layout.data_dir: "--data-dir"}.get(path, "--config-dir")
            yield Trouble(
                text=f"{path} cannot be written: its file system is mounted read-only",
                mend=f"choose another place with {flag}, or mount it writable",
            )
        elif space.free < least:
            yield Trouble(
                text=f"{path} has {space.free / 1e6:.0f} MB left, and {least / 1e6:.0f} MB are needed",
                mend="free some space there; `sudo journalctl --vacuum-size=100M` and `docker system prune` often help",
            )
    if layout.data_dir.split("/")[1] in ("home", "root", "run", "tmp"):
        yield Trouble(
            text=f"a service is kept out of {layout.data_dir}, or it does not last",
            mend="choose a --data-dir outside /home, /root, /run and /tmp",
        )


def _clock(facts: HostFacts, wanted: Wanted) -> Iterator[Trouble]:
    ahead = facts.now - wanted.now
    if abs(ahead) > CLOCK_LIMIT_SECS:
        there, here = (f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M}" for at in (facts.now, wanted.now))
        yield Trouble(
            text=f"its clock says {there} UTC, and here it is {here}: certificates and tokens would not hold",
            mend="on whichever is wrong: sudo timedatectl set-ntp true",
        )


def _elsewhere(facts: HostFacts) -> Iterator[Trouble]:
    if facts.placed is None or facts.placed == facts.layout:
        return
    there = facts.placed
    yield Trouble(
        text=f"fledx lies elsewhere on it: {there.bin_dir}, {there.config_dir} and {there.data_dir}",
        mend="leave out --bin-dir, --config-dir and --data-dir; to move it, uninstall it without --purge first",
    )


def _strangers(facts: HostFacts, roles: tuple[Role, ...]) -> Iterator[Trouble]:
    """What has our names and is not ours, such as the programs and units of fledx-core."""
    layout = facts.layout
    for path in (layout.command, *(layout.role_command(role) for role in ROLES), layout.previous):
        if path in facts.links and facts.links[path] is None:
            yield Trouble(
                text=f"{path} was not put there by fledx bootstrap",
                mend=f"move it away if nothing needs it: sudo mv {path} {path}.old",
            )
    for role in roles:
        unit = facts.files.get(unit_path(role))
        if unit is not None and "[X-Fledx]" not in (unit.content or ""):
            name = unit_name(role)
            yield Trouble(
                text=f"{unit_path(role)} was not written by fledx bootstrap",
                mend=f"move it away if nothing needs it: sudo systemctl disable --now {name}, then sudo rm its file",
            )


def _ports(facts: HostFacts, wanted: Wanted) -> Iterator[Trouble]:
    wish = wanted.roles.get("cp")
    if wish is None:
        return
    standing = facts.settings("cp")
    values = {**standing, **wish.over(standing)}
    flags = {"FLEDX_CP_SERVER_PORT": "--server-port", "FLEDX_CP_TUNNEL_ADVERTISED_PORT": "--tunnel-port"}
    unit = facts.unit("cp")
    ours = {standing.get(name) for name in DEFAULT_PORTS} if unit.runs else set()
    for name, usual in DEFAULT_PORTS.items():
        port = values.get(name, str(usual))
        if port.isdigit() and int(port) in facts.listening and port not in ours:
            holder = facts.listening[int(port)]
            yield Trouble(
                text=f"port {port} is taken by {holder or 'another process'}",
                mend=f"stop that, or choose another one with {flags[name]}",
            )


def _docker(facts: HostFacts, wanted: Wanted) -> Iterator[Trouble]:
    docker = facts.docker
    if docker.api is not None:
        if docker.api < OLDEST_ENGINE_API:
            yield Trouble(
                text=f"its Docker {docker.version} is too old (API {'.'.join(map(str, docker.api))})",
                mend=f"fledx needs 20.10 or newer (API {'.'.join(map(str, OLDEST_ENGINE_API))}): update Docker there",
            )
        if docker.group in (None, "root", "UNKNOWN"):
            yield Trouble(
                text=f"Docker's socket belongs to the group {docker.group or 'of nobody'}, which the agent cannot join",
                mend="on the host: sudo groupadd -f docker && sudo systemctl restart docker.socket docker",
            )
        return
    if wanted.install_docker:
        if not docker.installed and engine_script(facts.families) is None:
            yield Trouble(
                text=f"--install-docker does not know how {facts.distribution} installs Docker",
                mend="install it by hand: https://docs.docker.com/engine/install/",
            )
        return
    if not docker.installed:
        yield Trouble(text="it has no Docker engine", mend="--install-docker installs that of its distribution")
    elif not docker.running:
        yield Trouble(text="its Docker engine does not run", mend="on the host: sudo systemctl enable --now docker")
    elif facts.python is not None:
        yield Trouble(
            text=f"its Docker engine does not answer: {docker.error or 'it has no socket'}",
            mend="on the host: sudo systemctl restart docker, and see `journalctl -u docker`",
        )


def _other_control_plane(facts: HostFacts, wanted: Wanted) -> Iterator[Trouble]:
    identity = facts.identity
    if identity is None:
        return
    if identity.node_id is None:
        yield Trouble(
            text=f"{facts.layout.role_data('agent')}/identity.json cannot be read",
            mend="if the node is lost: sudo rm that file, and run this again to join anew",
        )
    elif wanted.authorities and identity.authorities and not set(wanted.authorities) & set(identity.authorities):
        yield Trouble(
            text=f"it is a node of another control plane, {identity.host}:{identity.port}",
            mend="take it out of there first: fledx bootstrap uninstall agent --purge, with its --ssh-host",
        )
