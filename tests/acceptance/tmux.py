"""A terminal that tests type into and read from: a tmux session of its own server."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.tools.machine import install_packages
from tests.waiting import eventually


def ensure_tmux() -> None:
    """Have tmux on this machine."""
    if shutil.which("tmux") is None:
        install_packages(["tmux"], "the full-screen view is tried in a real terminal", allowed=True)


class Tmux:
    """One window with a shell in it; ends with its `with` block."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._socket = str(folder / "tmux.sock")
        kept = {key: value for key, value in environ.items() if key not in ("NO_COLOR", "TMUX", "COLUMNS", "LINES")}
        self._environ = {**kept, "LANG": "C.UTF-8", "PS1": "$ ", "TERM": "xterm-256color"}

    def __enter__(self) -> Tmux:
        self._do("new-session", "-d", "-x", "80", "-y", "24", "sh", env=self._environ)
        eventually(lambda: self.screen().strip() != "")
        return self

    def __exit__(self, *exception: object) -> None:
        self._do("kill-server")

    def _do(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        command = ["tmux", "-S", self._socket, "-f", os.devnull, *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout

    def type(self, *keys: str) -> None:
        """Press keys by tmux's names; other words are typed as they are."""
        self._do("send-keys", *keys)

    def run(self, command: Sequence[str], *more: str) -> None:
        """Start a command in the shell."""
        self.type("-l", " ".join([shlex.join(command), *more]))
        self.type("Enter")

    def screen(self, *, colours: bool = False) -> str:
        """What is to be seen."""
        return self._do("capture-pane", "-p", *(["-e"] if colours else []))

    def shows(self, *words: str) -> str:
        """Wait until all of these are on the screen; the screen."""

        def look() -> str:
            seen = self.screen()
            missing = [word for word in words if word not in seen]
            size = self._do("display-message", "-p", "#{window_width}x#{window_height} #{pane_width}")
            assert not missing, f"{missing} not in {size}:\n{seen}"
            return seen

        return eventually(look, within=90)

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size."""
        self._do("resize-window", "-x", str(columns), "-y", str(rows))

    def is_whole(self) -> bool:
        """The main screen, a cursor that is seen, and the terminal's usual mode: `echo` and `icanon` on."""
        flags = self._do(
            "display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{pane_tty}"
        ).split()
        modes = subprocess.run(
            ["stty", "-a", "-F", flags[3]], capture_output=True, text=True, check=True
        ).stdout.split()
        lacking = {"icanon", "echo", "isig"} - {mode.strip(";") for mode in modes}
        assert (flags[:3], lacking) == (["0", "1", "0"], set()), self.screen()
        return True

    def processes(self, word: str) -> list[int]:
        """Processes of this terminal whose command has the word, the eldest first."""
        (tty,) = self._do("display-message", "-p", "#{pane_tty}").split()
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "-t", tty.removeprefix("/dev/")], capture_output=True, text=True
        )
        found = [line.split(None, 1) for line in listed.stdout.splitlines()]
        return sorted(int(pid) for pid, arguments in found if word in arguments)

    def kill(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        assert pid in self.processes("fledx")
        os.kill(pid, number)
