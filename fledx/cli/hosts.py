"""Which hosts `fledx bootstrap` is to work on, and how to get in, as the command line says it."""

from __future__ import annotations

import os
from argparse import Namespace
from getpass import getpass

from fledx.bootstrap.run import Hosts, Mode, Places, SshOptions
from fledx.cli.terminal import Terminal
from fledx.cli.views.bootstrap import Progress
from fledx.errors import InvalidSpec


def screen_of(args: Namespace, terminal: Terminal) -> Progress:
    """What shows how far each host has got."""
    return Progress(terminal, args.ssh_host or ())


def mode_of(args: Namespace) -> Mode:
    """How far to go."""
    return Mode(dry_run=args.dry_run, wait=not args.no_wait, wait_secs=args.wait_timeout)


def hosts_of(args: Namespace, terminal: Terminal, screen: Progress) -> Hosts:
    """Which hosts, and how to get in; sudo's password is asked for now, any other when it is needed."""
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

    def __init__(self, terminal: Terminal, screen: Progress) -> None:
        self._terminal = terminal
        self._screen = screen
        self._answers: dict[str, str] = {}

    def __call__(self, question: str) -> str:
        return self._screen.ask(lambda: self._answer(question))

    def _answer(self, question: str) -> str:
        if question not in self._answers:
            self._answers[question] = self._read(question)
        return self._answers[question]

    def _read(self, question: str) -> str:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:  # a script: the answer comes by its standard input
            return self._terminal.inp.readline().rstrip("\n")
        return getpass(question)
