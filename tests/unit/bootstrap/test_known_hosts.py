"""Which keys of hosts are believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from fledx.bootstrap.known_hosts import HostKey, judged, known_hosts, listed_name, remember
from fledx.errors import Denied

KEY = HostKey(kind="ssh-ed25519", text=base64.b64encode(b"the key of n1").decode())
OTHER = HostKey(kind="ssh-ed25519", text=base64.b64encode(b"another key").decode())
RSA = HostKey(kind="ssh-rsa", text=base64.b64encode(b"its rsa key").decode())


def file_with(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "known_hosts"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def line(patterns: str, key: HostKey = KEY, marker: str = "") -> str:
    return f"{marker} {patterns} {key.kind} {key.text} a comment".strip()


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("patterns", "name"),
    [
        ("n1", "n1"),
        ("other,n1,10.0.0.1", "n1"),
        ("*.example.com", "n1.example.com"),
        ("n?", "n1"),
        ("[n1]:2222", "[n1]:2222"),
        (hashed("n1"), "n1"),
        (hashed("[n1]:2222"), "[n1]:2222"),
    ],
)
@pytest.mark.parametrize("policy", ["accept-new", "strict", "off"])
def test_a_key_that_is_known_is_believed_without_a_word(tmp_path: Path, patterns: str, name: str, policy: str) -> None:
    known = known_hosts([file_with(tmp_path, "# a note", "", line(patterns))], name)
    assert judged(KEY, known, policy) is None


@pytest.mark.parametrize(
    ("patterns", "name"), [("n2", "n1"), ("*,!n1", "n1"), ("n1", "[n1]:2222"), (hashed("n2"), "n1"), ("|1|bad", "n1")]
)
def test_a_line_of_another_host_says_nothing(tmp_path: Path, patterns: str, name: str) -> None:
    assert known_hosts([file_with(tmp_path, line(patterns))], name).keys == ()


@pytest.mark.parametrize("policy", ["accept-new", "strict", "off"])
def test_a_changed_key_is_refused_under_every_policy(tmp_path: Path, policy: str) -> None:
    known = known_hosts([file_with(tmp_path, line("n1"))], "n1")
    for key in (OTHER, RSA):
        with pytest.raises(Denied, match="has changed") as told:
            judged(key, known, policy)
        assert key.fingerprint in told.value.text
        assert KEY.fingerprint in told.value.text
        assert "ssh-keygen -R 'n1'" in (told.value.hint or "")


def test_a_revoked_key_is_refused_even_if_it_is_known_too(tmp_path: Path) -> None:
    known = known_hosts([file_with(tmp_path, line("n1"), line("*", marker="@revoked"))], "n1")
    with pytest.raises(Denied, match="revoked"):
        judged(KEY, known, "off")


def test_an_authority_of_hosts_is_not_taken_for_a_key(tmp_path: Path) -> None:
    assert known_hosts([file_with(tmp_path, line("*", marker="@cert-authority"))], "n1").keys == ()


def test_a_new_key_is_printed_and_written_so_that_it_is_known_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "ssh" / "known_hosts"
    known = known_hosts([str(path)], "n1")
    assert KEY.fingerprint in (judged(KEY, known, "accept-new") or "")
    remember(KEY, known, hashed=False)
    remember(RSA, known, hashed=True)
    again = known_hosts([str(path)], "n1")
    assert again.keys == (KEY, RSA)
    assert path.read_text().splitlines()[0] == f"n1 {KEY.kind} {KEY.text}"
    assert path.read_text().splitlines()[1].startswith("|1|")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_without_an_end_of_line_gets_one_first(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(line("n2", OTHER))
    remember(KEY, known_hosts([str(path)], "n1"), hashed=False)
    assert path.read_text().splitlines() == [line("n2", OTHER), f"n1 {KEY.kind} {KEY.text}"]


def test_strict_refuses_who_is_not_known_and_says_how_to_be(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="not known yet") as told:
        judged(KEY, known_hosts([str(tmp_path / "none")], "n1"), "strict")
    assert "ssh-keygen -lf" in (told.value.hint or "")


def test_off_believes_for_this_run_and_says_so(tmp_path: Path) -> None:
    assert "for this run only" in (judged(KEY, known_hosts([str(tmp_path / "none")], "n1"), "off") or "")


def test_a_fingerprint_is_what_ssh_keygen_shows() -> None:
    digest = base64.b64encode(hashlib.sha256(b"the key of n1").digest()).decode().rstrip("=")
    assert KEY.fingerprint == f"SHA256:{digest}"


def test_a_port_other_than_22_is_part_of_the_name() -> None:
    assert (listed_name("N1", 22), listed_name("n1", 2222)) == ("n1", "[n1]:2222")
