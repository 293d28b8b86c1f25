"""A host over SSH: one connection for the whole run. The only file that imports paramiko."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.ssh_exception import AuthenticationException, PasswordRequiredException, SSHException

from fledx.bootstrap.host import Done, Order, packed
from fledx.bootstrap.known_hosts import HostKey, judged, known_hosts, listed_name, remember
from fledx.bootstrap.root import Root, find_root
from fledx.bootstrap.ssh_config import Route, SshOptions, Target, config_text, for_jump, route
from fledx.errors import Denied, InvalidSpec, Unavailable

KEEPALIVE_SECS = 15
PIECE = 32 * 1024
MAX_JUMPS = 8
AUTH_SECS = 30.0
DEAD_AFTER_MS = 30_000

# paramiko logs whole tracebacks of what it raises anyway.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What may be asked of the operator, and what is told: `secret` reads a line without echo, None forbids asking."""

    tell: Callable[[str], None]
    sudo_password: Callable[[], str] | None = None
    secret: Callable[[str], str] | None = None


class _Way:
    """The logins on the way to a host, each through the one before; the last is the host's own."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._home = os.path.expanduser("~")
        self._config = _config(self._home)
        self._clients: list[paramiko.SSHClient] = []

    @property
    def last(self) -> paramiko.SSHClient:
        """The host's own."""
        return self._clients[-1]

    def close(self) -> None:
        for client in reversed(self._clients):
            client.close()

    def connect(self, target: Target, options: SshOptions, passed: tuple[str, ...] = ()) -> None:
        """Log in to each hop and then to `target`; `passed` are the hops that led here."""
        if target.host in passed or len(passed) > MAX_JUMPS:
            raise InvalidSpec("ProxyJump", f"goes in a circle at {target.host}")
        before: paramiko.SSHClient | None = None
        for jump in self._route(target, options).jumps:
            between = Target.parse(jump.strip().removeprefix("ssh://"))
            # Of the hosts on the way only the first is reached as its own entry says, the others through the one before
            if before is None:
                self.connect(between, for_jump(options), (*passed, target.host))
            else:
                self._log_in(between, for_jump(options), through=before)
            before = self.last
        self._log_in(target, options, through=before)

    def _route(self, target: Target, options: SshOptions) -> Route:
        return route(target, _looked_up(self._config, target), options, home=self._home, login=getpass.getuser())

    def _log_in(self, target: Target, options: SshOptions, *, through: paramiko.SSHClient | None) -> None:
        hop = self._route(target, options)
        sock = _socket(hop, options, through)
        client = paramiko.SSHClient()
        try:
            _authenticate(client, target, hop, options, self._questions, sock)
        except BaseException:
            client.close()
            sock.close()
            raise
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(KEEPALIVE_SECS)
        self._clients.append(client)


class SshHost:
    """A host that was logged in to; `name` is what the operator called it."""

    def __init__(self, name: str, way: _Way, root: Root) -> None:
        self.name = name
        self._way = way
        self._root = root

    def run(self, order: Order) -> Done:
        command, feed = packed(order)
        return execute(self._way.last, self._root.prefix + command, self._root.password + feed, order.limit)

    def close(self) -> None:
        self._way.close()


def open_ssh(target: Target, options: SshOptions, questions: Questions) -> SshHost:
    """Log in to the host, through those before it where ssh_config says so, and find the way to root."""
    way = _Way(questions)
    try:
        way.connect(target, options)
        root = find_root(
            str(target), lambda command, feed, limit: execute(way.last, command, feed, limit), questions.sudo_password
        )
    except BaseException:
        way.close()
        raise
    return SshHost(target.host, way, root)


def _config(home: str) -> paramiko.SSHConfig:
    try:
        return paramiko.SSHConfig.from_text(config_text(home))
    except (SSHException, ValueError) as problem:
        raise InvalidSpec("~/.ssh/config", f"cannot be read: {problem}") from None


def _looked_up(config: paramiko.SSHConfig, target: Target) -> dict[str, object]:
    try:
        return dict(config.lookup(target.host))
    except (ImportError, SSHException) as problem:
        raise InvalidSpec(
            "~/.ssh/config",
            f"`Match exec` cannot be used here: {problem}",
            hint="give --ssh-user, --ssh-port and --ssh-identity-file, and a Host entry without it",
        ) from None


def _socket(hop: Route, options: SshOptions, through: paramiko.SSHClient | None) -> Any:
    """A connected byte stream to the host's SSH port: direct, through another host, or a command's."""
    try:
        if through is not None:
            transport = through.get_transport()
            if transport is None:
                raise Unavailable("the host on the way is gone")
            return transport.open_channel(
                "direct-tcpip", (hop.address, hop.port), ("127.0.0.1", 0), timeout=options.connect_timeout
            )
        if hop.command is not None:
            return paramiko.ProxyCommand(hop.command)
        direct = socket.create_connection((hop.address, hop.port), timeout=options.connect_timeout)
        direct.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
        return direct
    except socket.gaierror as problem:
        raise Unavailable(
            f"the name {hop.address} is not known here: {problem.strerror}", hint="check --ssh-host and ~/.ssh/config"
        ) from None
    except (OSError, SSHException) as problem:
        raise Unavailable(
            f"no SSH at {hop.address}:{hop.port}: {_words(problem)}",
            hint="is the host up, and the port right (--ssh-port)?",
        ) from None


class _Keys(paramiko.MissingHostKeyPolicy):
    """Judges the host's key by OpenSSH's files; paramiko itself is given none, so that it always asks here."""

    def __init__(self, hop: Route, options: SshOptions, questions: Questions) -> None:
        self._hop = hop
        self._policy = options.host_keys
        self._tell = questions.tell
        self.known = known_hosts(hop.known_hosts, listed_name(hop.key_name, hop.port))

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        shown = HostKey(kind=key.get_name(), text=key.get_base64())
        line = judged(shown, self.known, self._policy)
        if line is None:
            return
        self._tell(line)
        if self._policy == "accept-new":
            remember(shown, self.known, hashed=self._hop.hash_known_hosts)

    def transport(self, sock: Any, **settings: Any) -> paramiko.Transport:
        """One that asks the host for a key of a kind that is known, if any is."""
        made = paramiko.Transport(sock, **settings)
        kinds = {key.kind for key in self.known.keys}
        if "ssh-rsa" in kinds:
            kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
        security = made.get_security_options()
        offered = list(security.key_types)
        security.key_types = tuple(sorted(offered, key=lambda kind: (kind not in kinds, offered.index(kind))))
        return made


def _authenticate(
    client: paramiko.SSHClient, target: Target, hop: Route, options: SshOptions, questions: Questions, sock: Any
) -> None:
    keys = _Keys(hop, options, questions)
    client.set_missing_host_key_policy(keys)
    files = [path for path in hop.identity_files if os.path.exists(path)]
    if options.identity_file and not files:
        raise InvalidSpec("--ssh-identity-file", f"{options.identity_file} does not exist")
    with _told(target, hop):
        try:
            client.connect(
                hop.key_name,
                hop.port,
                hop.user,
                sock=sock,
                key_filename=files,  # type: ignore[arg-type]  # paramiko takes a list too
                allow_agent=not hop.identities_only,
                look_for_keys=not hop.identities_only and not files,
                timeout=options.connect_timeout,
                banner_timeout=options.connect_timeout,
                auth_timeout=AUTH_SECS,
                transport_factory=keys.transport,
            )
        except SSHException as problem:
            transport = _refused(client, problem)
            if not options.interactive or questions.secret is None:
                raise _as_refusal(problem) from None
            _ask(transport, files, hop, questions.secret)


@contextlib.contextmanager
def _told(target: Target, hop: Route) -> Iterator[None]:
    """What went wrong while logging in, in words of ours."""
    try:
        yield
    except PasswordRequiredException:
        raise Denied(
            f"the key for {target} is locked by a passphrase",
            hint="add it to your agent (ssh-add), or have it asked for with --ssh-interactive",
        ) from None
    except AuthenticationException as problem:
        raise Denied(
            f"{hop.address} does not let {hop.user} in: {_words(problem)}",
            hint="try it by hand with ssh; --ssh-user, --ssh-identity-file and --ssh-interactive choose how",
        ) from None
    except (SSHException, OSError, EOFError) as problem:
        raise Unavailable(
            f"no SSH session with {hop.address}:{hop.port}: {_words(problem)}", hint="is that port really SSH's?"
        ) from None


def _refused(client: paramiko.SSHClient, problem: SSHException) -> paramiko.Transport:
    """The connection on which the user was not let in, open for another try; `problem` itself if it was not that."""
    transport = client.get_transport()
    if transport is None or not (transport.is_active() or isinstance(problem, AuthenticationException)):
        raise problem
    return transport


def _as_refusal(problem: SSHException) -> AuthenticationException:
    """Where there is no key at all to try, paramiko does not call that a refusal."""
    return problem if isinstance(problem, AuthenticationException) else AuthenticationException(str(problem))


def _ask(transport: paramiko.Transport, files: list[str], hop: Route, secret: Callable[[str], str]) -> None:
    """Try again on the open connection, with a passphrase for the locked key or else with the user's password."""
    for path in files:
        if _is_locked(path):
            transport.auth_publickey(hop.user, _unlocked(path, secret(f"passphrase of {path}: ")))
            return
    transport.auth_password(hop.user, secret(f"password of {hop.user}@{hop.address}: "))


def _is_locked(path: str) -> bool:
    try:
        paramiko.PKey.from_path(path)
    except TypeError:  # what the library behind paramiko says of a missing passphrase
        return True
    except (SSHException, ValueError, OSError):
        return False
    return False


def _unlocked(path: str, passphrase: str) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path, passphrase.encode())  # type: ignore[arg-type]  # bytes are what works
    except (SSHException, ValueError, TypeError):
        raise AuthenticationException(f"that is not the passphrase of {path}") from None


def execute(client: paramiko.SSHClient, command: str, feed: bytes, limit: float) -> Done:
    """Run a command line as the user who logged in; a lost connection is a `Done` without a code."""
    transport = client.get_transport()
    if transport is None or not transport.is_active():
        return Done(code=None, err="the connection was lost")
    try:
        channel = transport.open_session(timeout=limit)
    except (SSHException, OSError, EOFError) as problem:
        return Done(code=None, err=_words(problem))
    with _closed_after(channel):
        try:
            channel.settimeout(limit)
            channel.exec_command(command)
            _send(channel, feed)
            out = _all_of(channel.recv)
            err = _all_of(channel.recv_stderr)
        except TimeoutError:
            return Done(code=124, err=f"not done within {limit:.0f} s")
        except (SSHException, OSError, EOFError) as problem:
            return Done(code=None, err=_words(problem))
        if not channel.status_event.wait(limit):
            return Done(code=124, out=out, err=f"not done within {limit:.0f} s")
        # -1 is paramiko's word for a channel that closed without telling how the command ended.
        code = channel.recv_exit_status()
        if code == -1:
            return Done(code=None, out=out, err="the connection was lost")
        return Done(code=code, out=out, err=err)


@contextlib.contextmanager
def _closed_after(channel: paramiko.Channel) -> Iterator[None]:
    """Closing tells the other side, and paramiko raises when there is none any more."""
    try:
        yield
    finally:
        with contextlib.suppress(SSHException, OSError, EOFError):
            channel.close()


def _send(channel: paramiko.Channel, feed: bytes) -> None:
    """All of it and its end; a command that stopped reading has its say in its exit code."""
    try:
        view = memoryview(feed)
        while view:
            view = view[channel.send(bytes(view[:PIECE])) :]
        channel.shutdown_write()
    except TimeoutError:
        raise
    except OSError:
        pass


def _all_of(receive: Callable[[int], bytes]) -> str:
    pieces = []
    while piece := receive(PIECE):
        pieces.append(piece)
    return b"".join(pieces).decode(errors="replace")


def _words(problem: BaseException) -> str:
    """An exception in words; paramiko and the socket module raise some without any."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return " ".join(text.split())
