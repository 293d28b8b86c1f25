"""This machine as a host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from fledx.bootstrap.host import Done, Order, packed
from fledx.bootstrap.root import Root, find_root

THIS_MACHINE = "this machine"
"""What it is called where hosts have names."""


class LocalHost:
    """Runs orders here; `ask` gives sudo's password when it is needed and may be asked for."""

    def __init__(self, name: str, ask: Callable[[], str] | None) -> None:
        self.name = name
        self._root: Root | None = None
        self._ask = ask

    def run(self, order: Order) -> Done:
        if self._root is None:
            self._root = find_root(self.name, execute, self._ask)
        command, feed = packed(order)
        return execute(self._root.prefix + command, self._root.password + feed, order.limit)

    def close(self) -> None:
        """Nothing is open."""


def execute(command: str, feed: bytes, limit: float) -> Done:
    """Run a command line with /bin/sh here."""
    try:
        # In a session of its own, so that Ctrl-C at the terminal does not end a step half-way.
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=feed,
            capture_output=True,
            timeout=limit,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(code=124, err=f"not done within {limit:.0f} s")
    return Done(
        code=done.returncode, out=done.stdout.decode(errors="replace"), err=done.stderr.decode(errors="replace")
    )
