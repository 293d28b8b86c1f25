"""Encrypt and decrypt with a key that lies elsewhere: secrets in a database, in a backup, in an agent's state."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import resource
import stat
from pathlib import Path

from fledx.errors import FledxError, InvalidSpec

KEY_BYTES = 32
NONCE_BYTES = 12
FORMAT = b"\x01"


class Unsealable(FledxError):
    """Sealed with another key, for another use, or altered since."""

    code = "unsealable"


class Seal:
    """
    One key.

    What is sealed is a format byte, 12 random bytes and ChaCha20-Poly1305 over the data (2^32 messages under one key
    are within its limits). `context` says what the data is (`secret db 3`) and must be the same when it is opened, so
    that no sealed thing can stand in for another. No `repr` shows the key.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InvalidSpec("key", f"has {len(key)} bytes and not {KEY_BYTES}")
        self._sealing = _derived(key, b"fledx seal")
        self._marking = _derived(key, b"fledx mark")

    def __repr__(self) -> str:
        return "Seal()"

    def seal(self, data: bytes, context: str) -> bytes:
        """Encrypt; ImportError where `cryptography` cannot be had."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + ChaCha20Poly1305(self._sealing).encrypt(nonce, data, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; Unsealable when this key, this context and these bytes do not belong together."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        head, nonce, body = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if head != FORMAT or len(nonce) != NONCE_BYTES:
            raise Unsealable(f"{context} is not in a sealed form that is known here")
        try:
            return ChaCha20Poly1305(self._sealing).decrypt(nonce, body, context.encode())
        except (InvalidTag, ValueError):
            raise Unsealable(f"{context} was sealed with another key, or altered since") from None

    def mark(self, data: bytes) -> str:
        """16 hex digits that differ when the data differs, and tell nothing of it to whoever lacks the key."""
        return hmac.new(self._marking, data, hashlib.sha256).hexdigest()[:16]


def _derived(key: bytes, purpose: bytes) -> bytes:
    """HKDF-Expand (RFC 5869, 2.3) for one block; the key is random as a whole."""
    return hmac.new(key, purpose + b"\x01", hashlib.sha256).digest()


def possible() -> bool:
    """Whether `cryptography` can be had on this machine."""
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401
    except ImportError:
        return False
    return True


def kept(path: Path) -> tuple[Seal, bool]:
    """
    The key in a file of mode 0600, made if there is none, and whether it was made just now.

    InvalidSpec when others can read the file, or it is no key. From now on this process leaves no core dump: that would
    hold the key and whatever was opened with it.
    """
    made = _make(path)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise InvalidSpec("key", f"{path} can be read by others", hint=f"chmod 600 {path}")
        return Seal(bytes.fromhex(path.read_text("ascii").strip())), made
    except (OSError, ValueError) as problem:
        raise InvalidSpec(
            "key", f"{path} does not hold a key: {problem}", hint="restore it from a backup that was made with its keys"
        ) from None


def _make(path: Path) -> bool:
    """Whole under its name or not at all; of two processes that make it at once, one wins."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            return True
        return False
    except OSError as problem:
        raise InvalidSpec("key", f"{path} cannot be made: {problem.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
