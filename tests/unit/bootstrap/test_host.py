"""How an order reaches a shell: nothing of it in an argument, nothing of it lost."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fledx.bootstrap.host import Done, Script, packed
from fledx.bootstrap.local import execute
from tests.unit.bootstrap.here import Here

SHELLS = [name for name in ("dash", "bash", "zsh", "fish", "ksh", "mksh") if shutil.which(name)]


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_hands_an_order_on(shell: str) -> None:
    order = Script(text="""printf '%s|' "it's" '"$HOME"' '!x'; cat; id -un >/dev/null\n""", input=b"\0bin\xffary\n")
    command, feed = packed(order)
    done = subprocess.run([shell, "-c", command], input=feed, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b'it\'s|"$HOME"|!x|\0bin\xffary\n')


def test_neither_the_script_nor_its_input_is_an_argument() -> None:
    order = Script(text="echo hush\n", input=b"secret")
    command, feed = packed(order)
    assert "hush" not in command
    assert "secret" not in command
    assert feed.endswith(b"echo hush\nsecret")


def test_a_script_stops_at_the_first_failure_and_at_an_unset_name() -> None:
    assert Here().run(Script(text="false\necho on\n")) == Done(code=1)
    done = Here().run(Script(text='echo "$NOBODY_SETS_THIS"\necho on\n'))
    assert done.code != 0
    assert "NOBODY_SETS_THIS" in done.said


def test_what_a_script_makes_is_for_its_user_alone() -> None:
    assert Here().run(Script(text="umask\n")).out == "0077\n"


def test_a_script_that_takes_too_long_is_ended() -> None:
    done = execute("exec sleep 30", b"", 0.2)
    assert (done.code, done.err) == (124, "not done within 0 s")


def test_what_was_said_last_is_one_line() -> None:
    assert Done(code=1, out="ignored", err="a\n\n  b \nc\n").said == "a; b; c"
    assert Done(code=1, out="only this\n").said == "only this"
