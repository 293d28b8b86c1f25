"""A host that is this machine as the user who runs the tests: real scripts, without becoming root."""

from __future__ import annotations

import grp
import os
import pwd

from fledx.bootstrap.host import Done, Order, packed
from fledx.bootstrap.local import execute


class Here:
    """Runs orders here; `ran` counts them."""

    name = "here"

    def __init__(self) -> None:
        self.ran = 0

    def run(self, order: Order) -> Done:
        self.ran += 1
        command, feed = packed(order)
        return execute(command, feed, order.limit)

    def close(self) -> None:
        """Nothing is open."""


def me() -> str:
    """This user and group, as an owner."""
    return f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"
