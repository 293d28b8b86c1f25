"""The ways to root, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fledx.bootstrap.host import Done
from fledx.bootstrap.root import CHECK, PROBE, find_root
from fledx.errors import Denied


class Login:
    """A user on a host, by what `id` and `sudo` answer; `heard` is what was put into sudo."""

    def __init__(self, probe: str, check: Done | None = None) -> None:
        self.answers = {PROBE: Done(code=0, out=probe), CHECK: check or Done(code=0)}
        self.heard: list[bytes] = []

    def __call__(self, command: str, feed: bytes, limit: float) -> Done:
        self.heard.append(feed)
        return self.answers[command]


def never() -> str:
    raise AssertionError("the operator was asked")


def test_root_needs_nothing() -> None:
    assert find_root("n1", Login("0\nFREE\n"), never).prefix == ""


def test_sudo_without_a_password_is_taken_and_nobody_is_asked() -> None:
    assert find_root("n1", Login("1000\nFREE\n"), never).prefix == "env LC_ALL=C sudo -n "


def test_a_password_goes_to_sudo_on_its_standard_input_and_nowhere_else() -> None:
    login = Login("1000\nsudo: a password is required\n")
    root = find_root("n1", login, lambda: "hush")
    assert login.heard == [b"", b"hush\n"]
    assert root.password == b"hush\n"
    assert "hush" not in root.prefix + repr(root)
    # Earlier passwords are forgotten, so that this line never goes to the command instead.
    assert " -k -S " in root.prefix


DENIALS: dict[str, tuple[Login, Callable[[], str] | None, str, str]] = {
    "no sudo": (Login("1000\n"), None, "has no sudo", "--ssh-user root"),
    "must be asked": (Login("1000\nsudo: a password is required\n"), None, "asks for a password", "--sudo-interactive"),
    "wants a terminal": (Login("1000\nsudo: sorry, you must have a tty to run sudo\n"), None, "terminal", "requiretty"),
    "wrong": (
        Login("1000\nsudo: a password is required\n", Done(code=1, err="Sorry, try again.\nsudo: no password\n")),
        lambda: "wrong",
        "refused the password",
        "nothing was changed",
    ),
    "not a sudoer": (
        Login("1000\nsudo: a password is required\n", Done(code=1, err="plain is not in the sudoers file.\n")),
        lambda: "right",
        "may not use sudo",
        "group sudo or wheel",
    ),
    "broken": (
        Login("1000\nsudo: a password is required\n", Done(code=1, err="sudo: /etc/sudo.conf is owned by uid 3\n")),
        lambda: "right",
        "owned by uid 3",
        "by hand",
    ),
    "no shell": (Login("This account is currently not available.\n"), None, "lets nobody run commands", "by hand"),
}


@pytest.mark.parametrize("case", DENIALS)
def test_a_way_that_is_closed_is_named_with_what_opens_it(case: str) -> None:
    login, ask, text, hint = DENIALS[case]
    with pytest.raises(Denied) as told:
        find_root("n1", login, ask)
    assert text in told.value.text
    assert "n1" in told.value.text
    assert hint in (told.value.hint or "")
