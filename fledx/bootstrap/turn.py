"""One run at a time on a host: who changes it leaves word of that there, and whoever comes meanwhile is told."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fledx.bootstrap.host import Host
from fledx.errors import Conflict, FledxError, Unavailable

WORD = "/run/fledx-bootstrap.lock"  # gone with a reboot
BOOT_ID = "/proc/sys/kernel/random/boot_id"
LEASE_SECONDS = 900  # after these nobody is at work any more; longer than any run takes

# Compare and swap: the word is mine if there was none, an old one, or the one I expected. flock(1) makes it one act.
TAKE = """
IFS= read -r expected
IFS= read -r mine
command -v flock >/dev/null || exit 0
exec 9>>{word}
flock -w 10 9
now=$(date +%s)
held=$(cat {word})
case "$held" in ?*) [ $((now - ${{held##* }})) -lt {lease} ] || held= ;; esac
if [ -n "$held" ] && [ "${{held% *}}" != "$expected" ]; then printf '%s\\n' "$held"; exit 0; fi
if [ -n "$mine" ]; then printf '%s %s\\n' "$mine" "$now" >{word}; else : >{word}; fi
"""


@dataclass(frozen=True, kw_only=True)
class Take:
    """Leave the word ``mine`` where none is, or ``expected`` is; says whose is there else. An empty one is none."""

    expected: str
    mine: str
    word: str = WORD
    limit: float = 30.0

    def script(self) -> str:
        return TAKE.format(word=self.word, lease=LEASE_SECONDS)

    def feed(self) -> bytes:
        return f"{self.expected}\n{self.mine}\n".encode()


@contextmanager
def turn(host: Host, *, word: str = WORD) -> Iterator[None]:
    """Have the host to oneself; Conflict says who has it. A run of this machine that is dead has nothing any more."""
    mine = own_word()
    held = _take(host, Take(expected=mine, mine=mine, word=word))
    if held is not None and is_dead(held):
        held = _take(host, Take(expected=held, mine=mine, word=word))
    if held is not None:
        raise Conflict(
            f"{held.partition(' ')[0]} is at work on it with fledx bootstrap; nothing was changed",
            hint=f"wait until that has ended; if it was cut off, its claim ends after {LEASE_SECONDS // 60} minutes,"
            f" or at once by `sudo rm {word}` there",
        )
    try:
        yield
    finally:
        _take(host, Take(expected=mine, mine="", word=word))


def _take(host: Host, order: Take) -> str | None:
    """None when it is taken, else whose it is, without the time."""
    done = host.run(order)
    if done.code is None and order.mine:
        raise Unavailable(f"{host.name} was lost: {done.err}", hint="nothing was changed; run it again")
    if done.code and order.mine:
        raise FledxError(f"it cannot be told who is at work on it: {done.said}", hint="try `sudo sh -c true` there")
    return done.out.strip().rpartition(" ")[0] or None


def own_word(pid: int | None = None) -> str:
    """Who and which process this is, in two words without blanks."""
    pid = os.getpid() if pid is None else pid
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    who = "".join(c if c.isalnum() or c in "-_.@" else "-" for c in f"{user}@{socket.gethostname()}")
    return f"{who} {_machine()}:{pid}:{_started(pid)}"


def is_dead(word: str) -> bool:
    """Whether a word is that of a process of this machine which has ended; of others nobody can tell."""
    machine, _, process = word.rpartition(" ")[2].partition(":")
    pid, _, started = process.partition(":")
    return machine == _machine() and pid.isdigit() and _started(int(pid)) != started


def _machine() -> str:
    """16 digits that differ between machines and their boots."""
    told = [path.read_text() for name in ("/etc/machine-id", BOOT_ID) if (path := Path(name)).exists()]
    return hashlib.sha256("".join([socket.gethostname(), *told]).encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot; `-` for none. A number is given again, a moment is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "-"
