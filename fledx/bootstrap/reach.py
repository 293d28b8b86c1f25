"""Whether the network lets those talk who must: tried for real, before anything is changed."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fledx.bootstrap.host import Done, Host
from fledx.bootstrap.wanted import Trouble

LISTEN_SECS = 12.0
CONNECT_SECS = 5.0
SPEAK_SECS = 3.0

# Answers on each port with the word it was given on its input, until every port was asked or time is up.
ANSWER = r"""
import json, os, selectors, socket, sys, time
told = json.loads(sys.stdin.buffer.read())
ring, asked, end = selectors.DefaultSelector(), set(), time.monotonic() + told["seconds"]
for port in told["ports"]:
    try:
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::", port))
    except OSError:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("0.0.0.0", port))
    s.listen()
    ring.register(s, selectors.EVENT_READ, port)
while asked != set(told["ports"]) and time.monotonic() < end:
    for key, _ in ring.select(0.2):
        peer = key.fileobj.accept()[0]
        peer.settimeout(2)
        try:
            peer.sendall(told["word"].encode())
            if peer.recv(16) == b"seen":
                asked.add(key.data)
        except OSError:
            pass
        peer.close()
"""

# Says "ok", or what is wrong and of which kind: name, connect, certificate, other.
DIAL = r"""
import json, socket, ssl, sys
told = json.loads(sys.stdin.buffer.read())
def say(kind, text=""):
    print(kind, text)
    raise SystemExit
try:
    s = socket.create_connection((told["host"], told["port"]), timeout=told["seconds"])
except socket.gaierror as problem:
    say("name", problem.strerror)
except OSError as problem:
    say("connect", "no answer" if isinstance(problem, (socket.timeout, TimeoutError)) else problem.strerror or problem)
if told["pem"]:
    context = ssl.create_default_context(cadata=told["pem"])
    context.check_hostname = False
    try:
        context.wrap_socket(s, server_hostname=told["host"])
    except ssl.SSLCertVerificationError as problem:
        say("certificate", problem.verify_message)
    except (OSError, ValueError) as problem:
        say("other", problem)
say("ok")
"""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Run a small Python program on the host with `told` as JSON on its standard input."""

    python: str
    program: str
    told: dict[str, object]
    limit: float = 30.0

    def script(self) -> str:
        # Held by the shell and given as an argument: the program is no secret, what it is told may be.
        return f"exec {self.python} -IS -c '{self.program}'\n"

    def feed(self) -> bytes:
        return json.dumps(self.told).encode()


def try_agent(host: Host, python: str, where: tuple[str, int], pem: str | None, *, strict: bool) -> Trouble | None:
    """Whether the host reaches the control plane's tunnel at `where`, and that it is the one with authority `pem`."""
    name, port = where
    told: dict[str, object] = {"host": name, "port": port, "pem": pem or "", "seconds": CONNECT_SECS}
    done = host.run(Ask(python=python, program=DIAL, told=told))
    kind, _, text = done.out.strip().partition(" ")
    if kind == "ok":
        return None
    mends = {
        "name": "give the control plane a --cp-hostname that its nodes can resolve, or an address",
        "connect": f"open port {port} there for its nodes, or forward it; is --cp-hostname right for this network?",
        "certificate": "something else answers at that name: a router, or another control plane; check --cp-hostname",
    }
    found = {
        "name": f"it cannot resolve the control plane's name {name}: {text}",
        "connect": f"it cannot reach the control plane's tunnel at {name}:{port}: {text}",
        "certificate": f"what answers it at {name}:{port} is not our control plane: {text}",
    }
    said = text or done.said or "no answer"
    return Trouble(
        text=found.get(kind, f"it cannot talk to the control plane's tunnel at {name}:{port}: {said}"),
        mend=mends.get(kind, f"is the tunnel's port open there? Try on the host: nc -v {name} {port}"),
        fatal=strict,
    )


def try_control_plane(host: Host, python: str, name: str, ports: Sequence[int], *, strict: bool) -> Trouble | None:
    """
    Whether `name`, as agents and operators will use it, leads from here to this very host on each of the ports.

    For a moment a small program answers there with a word that nobody else can know.
    """
    try:
        socket.getaddrinfo(name, None)
    except (socket.gaierror, UnicodeError) as problem:
        return Trouble(
            text=f"the name {name} is not known here: {getattr(problem, 'strerror', None) or problem}",
            mend="--cp-hostname has to be a name or an address by which operators and nodes reach this host",
            fatal=strict,
        )
    if not ports:
        return None
    wrong, answer = _tried(host, python, name, ports)
    if not wrong:
        return None
    if answer is not None and answer.code not in (0, None):
        return Trouble(
            text=f"its ports cannot be tried: {answer.said}", mend="choose others with --server-port", fatal=strict
        )
    return Trouble(
        text="; ".join(wrong),
        mend="open or forward these ports to the host, or correct --cp-hostname; --no-wait installs all the same",
        fatal=strict,
    )


def _tried(host: Host, python: str, name: str, ports: Sequence[int]) -> tuple[list[str], Done | None]:
    """What is wrong with the ports, and what became of the program that listened there, if it has ended."""
    word = secrets.token_hex(16)
    told: dict[str, object] = {"ports": list(ports), "word": word, "seconds": LISTEN_SECS}
    answer: list[Done] = []
    ask = Ask(python=python, program=ANSWER, told=told)
    listening = threading.Thread(target=lambda: answer.append(host.run(ask)), daemon=True)
    listening.start()
    deadline = time.monotonic() + LISTEN_SECS
    wrong = [each for port in ports if (each := _asked(name, port, word, listening, deadline)) is not None]
    listening.join(LISTEN_SECS + 5)
    return wrong, answer[0] if answer else None


def _asked(name: str, port: int, word: str, listening: threading.Thread, deadline: float) -> str | None:
    """What is wrong with one port, None when the host itself answered; tried until it listens or has given up."""
    problem = ""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((name, port), timeout=CONNECT_SECS) as link:
                if _word_of(link) == word:
                    link.sendall(b"seen")
                    return None
                return f"{name}:{port} leads to another machine"
        except ConnectionRefusedError:
            problem = f"{name}:{port} refuses connections from here"
        except TimeoutError:
            return f"{name}:{port} does not answer from here"
        except OSError as fault:
            return f"{name}:{port} cannot be reached from here: {fault.strerror or fault}"
        if not listening.is_alive():
            break
        listening.join(0.05)
    return problem or f"{name}:{port} does not answer from here"


def _word_of(link: socket.socket) -> str:
    """What the other side says of itself; nothing where it waits for us to speak first."""
    link.settimeout(SPEAK_SECS)
    try:
        return link.recv(64).decode(errors="replace")
    except OSError:
        return ""
