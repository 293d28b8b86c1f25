"""
TLS in memory, the contexts both sides use, and the fingerprints by which a CA is known.

TLS 1.3 only, no session tickets: resumption saves a server nothing here and cannot outlive its process.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
from collections.abc import Sequence

from fledx.errors import Denied, FledxError, InvalidSpec, Unavailable
from fledx.tunnel.frames import foreign

RECORD_HEADER = 5
MAX_RECORD = RECORD_HEADER + 16384 + 256
PIECE = 16384
"""A MemoryBIO keeps for good what it once held, so no more than one record goes through it at a time."""

CONTENT_TYPES = range(20, 24)


def fingerprint(der: bytes) -> str:
    """How a certificate is written down: SHA-256 of its DER, base64url without padding (43 characters)."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def digest(pin: str) -> bytes:
    """The 32 bytes of a fingerprint in the form above or in hex, colons allowed; raises InvalidSpec."""
    text = pin.strip().removeprefix("sha256:").removeprefix("SHA256:")
    try:
        found = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        try:
            found = base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            found = b""
    if len(found) != 32:
        raise InvalidSpec("fingerprint", f"{pin!r} is not a SHA-256 in hex or base64url")
    return found


def matching(certificates: str, pins: Sequence[str]) -> str:
    """Those certificates of a PEM text whose fingerprint is among `pins`, as PEM; empty when there is none."""
    wanted = {digest(pin) for pin in pins}
    found = []
    for block in certificates.split("-----END CERTIFICATE-----")[:-1]:
        pem = block[block.find("-----BEGIN CERTIFICATE-----") :].strip() + "\n-----END CERTIFICATE-----\n"
        try:
            der = ssl.PEM_cert_to_DER_cert(pem)
        except (ValueError, binascii.Error):
            continue
        if hashlib.sha256(der).digest() in wanted:
            found.append(ssl.DER_cert_to_PEM_cert(der))
    return "".join(found)


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """For a listener: paths of a PEM chain and its key; raises InvalidSpec when they cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        raise InvalidSpec("", f"certificate {certificate} and key {key} cannot be used: {problem}") from None
    return context


def client_context(roots: str | None) -> ssl.SSLContext:
    """For a dialler: trusts only the CAs of the PEM text `roots`, None for those the system knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if roots is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=roots)
    except (ValueError, ssl.SSLError) as problem:
        raise InvalidSpec("", f"the CA certificates cannot be used: {problem}") from None
    return context


def unverified_context() -> ssl.SSLContext:
    """For asking a listener for its CA and nothing else: whoever answers is believed nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Tls:
    """
    One end of TLS over bytes that somebody else moves.

    ``established`` once the handshake is done. Raises `ssl.SSLError` as OpenSSL does, and Unavailable when what arrives
    is not TLS at all.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls", "established")

    def __init__(self, context: ssl.SSLContext, *, server: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=host)
        self.established = False
        if not server:
            self._shake()

    def open(self, arrived: memoryview, room: memoryview) -> tuple[int, memoryview]:
        """
        Decrypt the whole records of `arrived` into `room`; returns the bytes used and the plaintext.

        What is not used is the beginning of a record: bring it again, with more behind it.
        """
        used = size = 0
        while len(arrived) - used >= RECORD_HEADER:
            if arrived[used] not in CONTENT_TYPES:
                raise foreign(arrived[used:])
            end = used + RECORD_HEADER + (arrived[used + 3] << 8 | arrived[used + 4])
            if end > len(arrived):
                if end - used > MAX_RECORD:
                    raise foreign(arrived[used:])
                break
            self._incoming.write(arrived[used:end])
            used = end
            if not self.established:
                self._shake()
            else:
                size += self._read(room[size:])
        return used, room[:size]

    def _read(self, room: memoryview) -> int:
        try:
            return self._tls.read(PIECE, room)  # type: ignore[return-value]
        except ssl.SSLWantReadError:
            return 0

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
            self.established = True
        except ssl.SSLWantReadError:
            pass

    def seal(self, plain: memoryview, out: list[bytes]) -> None:
        """Encrypt `plain` and append the records to `out`."""
        for start in range(0, len(plain), PIECE):
            self._tls.write(plain[start : start + PIECE])
            out.append(self._outgoing.read())

    def spoken(self) -> bytes:
        """What TLS itself has to say: handshake, alerts, key updates."""
        return self._outgoing.read() if self._outgoing.pending else b""


class Clear:
    """The same without TLS: what arrives is what was meant."""

    __slots__ = ()
    established = True

    def open(self, arrived: memoryview, room: memoryview) -> tuple[int, memoryview]:
        """All of it, where it lies."""
        return len(arrived), arrived

    def seal(self, plain: memoryview, out: list[bytes]) -> None:
        """Copied, for the buffer is used again before the kernel may have taken all."""
        out.append(bytes(plain))

    def spoken(self) -> bytes:
        """Nothing."""
        return b""


def explain(problem: ssl.SSLError, peer: str) -> FledxError:
    """The error to raise for one of OpenSSL's, in a sentence that names `peer`."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        error: FledxError = Denied(
            f"the certificate of {peer} is not to be trusted: {problem.verify_message}",
            hint="compare the host name and the CA fingerprint with what the control plane shows",
        )
        error.code = "certificate"
        return error
    if isinstance(problem, ssl.SSLZeroReturnError):
        return Unavailable(f"{peer} ended TLS without a goodbye")
    return Unavailable(f"TLS with {peer} failed: {(problem.reason or str(problem)).lower().replace('_', ' ')}")
