"""HTTP/1.1 as bytes: how a request is written and how an answer is read; touches no socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_HEAD = 64 * 1024
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A body that is too large to be held: its pieces, and how many bytes they are together."""

    pieces: Iterable[bytes]
    size: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request; ``target`` is path and query, ``headers`` have lower-case names, ``upload`` streams."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    upload: Upload | None = None

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.method not in ("POST", "PATCH") or "idempotency-key" in self.headers


@dataclass(frozen=True, kw_only=True)
class Head:
    """Status line and headers of an answer; header names in lower case, the last of a repeated one wins."""

    status: int
    reason: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a control plane is; ``base`` is a path that precedes every target, without its closing slash."""

    scheme: str
    host: str
    port: int
    base: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `[http[s]://]HOST[:PORT][/BASE]`; ValueError says what is wrong."""
        scheme, marker, rest = url.strip().partition("://")
        if not marker:
            scheme, rest = "http", url.strip()
        if scheme.lower() not in PORTS:
            raise ValueError(f"{url!r} is neither http:// nor https://")
        authority, slash, path = rest.partition("/")
        host, port = _host_and_port(authority)
        if not host or not all(33 <= ord(character) < 127 for character in rest) or set(rest) & set('?#@"<>\\'):
            raise ValueError(f"{url!r} is not a URL such as http://localhost:8080 or https://cp.example.com")
        number = PORTS[scheme.lower()] if port is None else port
        return cls(scheme=scheme.lower(), host=host, port=number, base=(slash + path).rstrip("/"))

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base}"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing that is said leaves this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") else None
    else:
        host, colon, digits = authority.partition(":")
        port = digits if colon else None
    if port is None:
        return host, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ValueError(f"{port!r} is not a port between 1 and 65535")
    return host, int(port)


def quoted(text: str) -> str:
    """A path segment or a query's word, percent-encoded."""
    raw = text.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in raw)


def target(path: str, query: Iterable[tuple[str, object]] = ()) -> str:
    """
    A path with its query.

    A pair whose value is None is left out, one whose value is a list is repeated; true and false are in lower case.
    """
    words = [f"{quoted(key)}={quoted(word)}" for key, value in query for word in _words(value)]
    return f"{path}?{'&'.join(words)}" if words else path


def _words(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [word for item in value for word in _words(item)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def request_bytes(request: Request, address: Address) -> bytes:
    """A request as it goes over the wire; ValueError for a header that would break out of its line."""
    lines = [f"{request.method} {address.base}{request.target} HTTP/1.1", f"host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.upload is not None:
        lines.append(f"content-length: {request.upload.size}")
    if request.body is not None:
        lines.append(f"content-length: {len(request.body)}")
    for line in lines:
        if not all(32 <= ord(character) < 256 and ord(character) != 127 for character in line):
            raise ValueError(f"the {line.partition(':')[0]} header holds a character that no header can")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (request.body or b"")


def parse_head(raw: bytes) -> Head:
    """Status line and headers, without the empty line that ends them; ValueError where this is not HTTP/1."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not (len(code) == 3 and code.isdigit()):
        raise ValueError("not an HTTP/1 answer")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    return Head(status=int(code), reason=reason, headers=headers)


class Body:
    """
    Decodes the body that a head announces: fed with bytes, gives its payload.

    ``done`` when it is whole, ``left`` what came after it. Some bodies are whole only when their connection closes.
    """

    def __init__(self, head: Head, method: str) -> None:
        coding = head.headers.get("transfer-encoding", "").lower()
        length = head.headers.get("content-length")
        empty = method == "HEAD" or head.status in (204, 304)
        self._chunks = Chunks() if coding == "chunked" and not empty else None
        self._remaining = 0 if empty else _length(length) if self._chunks is None and length is not None else None
        self.done = self._remaining == 0
        self.left = b""

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the closing of the connection tells that the body is whole."""
        return self._chunks is None and self._remaining is None

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`; ValueError where the framing is broken."""
        if self._chunks is not None:
            payload = self._chunks.feed(data)
            self.done, self.left = self._chunks.done, self._chunks.left
            return payload
        if self._remaining is None:
            return data
        payload, self.left = data[: self._remaining], data[self._remaining :]
        self._remaining -= len(payload)
        self.done = self._remaining == 0
        return payload


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("a content-length that is not a number")
    return int(text)


class Chunks:
    """The chunked coding: sizes in hexadecimal, each chunk with its line end, trailers, an empty line."""

    def __init__(self) -> None:
        self._buffer = b""
        self._expect = self._size
        self._remaining = 0
        self.done = False
        self.left = b""

    def feed(self, data: bytes) -> bytes:
        """The payload that `data` completes."""
        self._buffer += data
        payload = []
        while not self.done and (piece := self._expect()) is not None:
            payload.append(piece)
        if self.done:
            self.left, self._buffer = self._buffer, b""
        return b"".join(payload)

    def _line(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            if len(line) > MAX_HEAD:
                raise ValueError("an endless line between chunks")
            return None
        self._buffer = rest
        return line

    def _size(self) -> bytes | None:
        if (line := self._line()) is None:
            return None
        digits = line.partition(b";")[0].strip()
        if not 0 < len(digits) < 16:
            raise ValueError("a chunk without its size")
        self._remaining = int(digits, 16)
        self._expect = self._payload if self._remaining else self._trailer
        return b""

    def _payload(self) -> bytes | None:
        if not self._buffer:
            return None
        piece, self._buffer = self._buffer[: self._remaining], self._buffer[self._remaining :]
        self._remaining -= len(piece)
        if not self._remaining:
            self._expect = self._line_end
        return piece

    def _line_end(self) -> bytes | None:
        if (line := self._line()) is None:
            return None
        if line:
            raise ValueError("a chunk longer than its size")
        self._expect = self._size
        return b""

    def _trailer(self) -> bytes | None:
        if (line := self._line()) is None:
            return None
        self.done = not line
        return b""
