"""How to become root on a host: already being it, sudo without a password, or sudo with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fledx.bootstrap.host import Done
from fledx.errors import Denied

Execute = Callable[[str, bytes, float], Done]
"""Runs one command line as the user who logged in: command, standard input, limit in seconds."""

PROBE = """sh -c 'id -u; if command -v sudo >/dev/null; then LC_ALL=C sudo -k -n true 2>&1 && echo FREE; fi; true'"""
CHECK = "env LC_ALL=C sudo -k -S -p '' true"


@dataclass(frozen=True, kw_only=True)
class Root:
    """
    A prefix for commands, and what goes to their standard input before all else.

    With a password sudo is told to forget earlier ones (-k), so that it always reads this one, and never leaves it to
    the command behind it as if it were that command's own input.
    """

    prefix: str = ""
    password: bytes = field(default=b"", repr=False)


def find_root(name: str, execute: Execute, ask: Callable[[], str] | None) -> Root:
    """The way to root on the host called `name`; Denied says what is missing. `ask` gives sudo's password."""
    probe = execute(PROBE, b"", 20)
    uid, *rest = probe.out.split("\n") if probe.out else ("",)
    said = " ".join(rest).strip()
    if uid.strip() == "0":
        return Root()
    if not uid.strip().isdigit():
        raise Denied(f"{name} lets nobody run commands: {probe.said or 'no answer'}", hint="log in to it by hand once")
    if not said:
        raise Denied(
            f"{name} has no sudo, and the user who logged in is not root",
            hint="log in as root (--ssh-user root), or install sudo there",
        )
    if said.endswith("FREE"):
        return Root(prefix="env LC_ALL=C sudo -n ")
    if "tty" in said:
        raise Denied(f"sudo on {name} wants a terminal: {said}", hint="remove `requiretty` from its /etc/sudoers")
    if ask is None:
        raise Denied(
            f"sudo on {name} asks for a password",
            hint="--sudo-interactive asks you for it once; or let that user run sudo without one (NOPASSWD)",
        )
    return _with_password(name, execute, ask())


def _with_password(name: str, execute: Execute, password: str) -> Root:
    secret = password.encode() + b"\n"
    check = execute(CHECK, secret, 30)
    if check.code == 0:
        return Root(prefix="env LC_ALL=C sudo -k -S -p '' ", password=secret)
    if "not in the sudoers" in check.err or "not allowed" in check.err:
        raise Denied(
            f"the user who logged in to {name} may not use sudo", hint="add it to the group sudo or wheel there"
        )
    if "try again" in check.err or "incorrect" in check.err:
        raise Denied(f"sudo on {name} refused the password", hint="run it again; nothing was changed")
    raise Denied(f"sudo on {name} does not work: {check.said}", hint="try `sudo true` there by hand")
