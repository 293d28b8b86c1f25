"""
The bed of hosts by hand: ``python -m tests.bed up 3``, ``ssh n1``, ``cut n1 cp``, ``down``.

It stays until `down`, under another name and subnet than those of test runs. `--suite trixie` makes new hosts Debian
13 instead of 12.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from fledx.sample.image import NAME, ensure_image
from tests.bed import images
from tests.bed.commands import CommandFailed
from tests.bed.hosts import Hosts, Shape


def main() -> None:
    """Run one command; what fails is one line on standard error."""
    given = _parser().parse_args()
    bed = Hosts(given.name, given.subnet)
    try:
        given.run(bed, given)
    except (CommandFailed, RuntimeError) as problem:
        sys.exit(f"bed: {problem}")


def up(bed: Hosts, given: argparse.Namespace) -> None:
    began = time.monotonic()
    shape = Shape(target=given.target, suite=given.suite, memory=given.memory, disk=given.disk)
    bed.up(given.count, shape=shape, internet=not given.offline, private=given.private)
    show(bed, given)
    print(f"up in {time.monotonic() - began:.1f} s; ssh -F {bed.ssh_config} n1")


def add(bed: Hosts, given: argparse.Namespace) -> None:
    host = bed.add(given.host, Shape(target=given.target, suite=given.suite, memory=given.memory, disk=given.disk))
    print(f"{host.name} {host.address}")


def show(bed: Hosts, given: argparse.Namespace) -> None:
    for host in bed:
        print(f"{host.name:8} {host.address:14} {host.state}")


def down(bed: Hosts, given: argparse.Namespace) -> None:
    bed.down()


def ssh(bed: Hosts, given: argparse.Namespace) -> None:
    os.execvp("ssh", ["ssh", "-F", str(bed.ssh_config), *given.words])


def push(bed: Hosts, given: argparse.Namespace) -> None:
    if given.image == NAME:
        ensure_image()
    print(bed.registry.push(given.image))


def power(bed: Hosts, given: argparse.Namespace) -> None:
    getattr(bed[given.host], given.command)()


def network(bed: Hosts, given: argparse.Namespace) -> None:
    getattr(bed[given.host].net, given.command)()


def cut(bed: Hosts, given: argparse.Namespace) -> None:
    bed[given.host].net.cut(bed[given.peer].address, one_way=given.one_way)


def worsen(bed: Hosts, given: argparse.Namespace) -> None:
    getattr(bed[given.host].net, given.command)(given.amount)


def heal(bed: Hosts, given: argparse.Namespace) -> None:
    bed.restore()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bed", description=__doc__)
    parser.add_argument("--name", default="hand", help="of the bed (%(default)s)")
    parser.add_argument("--subnet", default="10.78.0", help="its first three numbers (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    making = argparse.ArgumentParser(add_help=False)
    making.add_argument("--target", choices=("host", "fresh"), default="host")
    making.add_argument("--suite", choices=(images.BOOKWORM, images.TRIXIE), default=images.BOOKWORM)
    making.add_argument("--memory", help="limit of each new host, 512m for example")
    making.add_argument("--disk", help="size of its /var/lib/docker, in memory and lost at a stop")

    command = commands.add_parser("up", parents=[making], help="cp, n1 to nCOUNT and a registry")
    command.add_argument("count", type=int)
    command.add_argument("--private", action="store_true", help="and private:5000, a registry with a password")
    command.add_argument("--offline", action="store_true", help="no way out of the bed")
    command.set_defaults(run=up)
    command = commands.add_parser("add", parents=[making], help="one more host")
    command.add_argument("host")
    command.set_defaults(run=add)
    commands.add_parser("ls", help="the hosts").set_defaults(run=show)
    commands.add_parser("down", help="remove all of it").set_defaults(run=down)
    command = commands.add_parser("ssh", help="[USER@]HOST [COMMAND...]")
    command.add_argument("words", nargs=argparse.REMAINDER)
    command.set_defaults(run=ssh)
    command = commands.add_parser("push", help="an image to the registry")
    command.add_argument("image", nargs="?", default=NAME)
    command.set_defaults(run=push)
    _add_faults(commands)
    return parser


def _add_faults(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name in ("stop", "kill", "start", "reboot", "pause", "resume"):
        command = commands.add_parser(name)
        command.add_argument("host")
        command.set_defaults(run=power)
    for name in ("isolate", "unplug", "plug"):
        command = commands.add_parser(name)
        command.add_argument("host")
        command.set_defaults(run=network)
    for name, unit in (("loss", "share, 0 to 1"), ("delay", "seconds"), ("rate", "bits a second")):
        command = commands.add_parser(name, help=unit)
        command.add_argument("host")
        command.add_argument("amount", type=float, help=unit)
        command.set_defaults(run=worsen)
    command = commands.add_parser("cut", help="packets between two hosts")
    command.add_argument("host")
    command.add_argument("peer")
    command.add_argument("--one-way", action="store_true", help="only those that HOST sends")
    command.set_defaults(run=cut)
    commands.add_parser("heal", help="undo all faults, start what is stopped").set_defaults(run=heal)


if __name__ == "__main__":
    main()
