"""The one limit of the kernel that a node may need raised: how many files Envoy may watch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fledx.bootstrap.facts import HostFacts
from fledx.bootstrap.layout import LIMITS_FILE
from fledx.bootstrap.steps import RemoveFile, Step, WriteFile
from fledx.bootstrap.wanted import Trouble
from fledx.models.ingress import WATCHES_WANTED
from fledx.settings.declare import boolean

INSTANCES = "/proc/sys/fs/inotify/max_user_instances"
GATEWAY = "FLEDX_AGENT_GATEWAY_ENABLED"
CONTENT = f"""\
# Written by `fledx bootstrap`: the Envoy of a gateway takes one inotify instance for each file that it watches.
fs.inotify.max_user_instances = {WATCHES_WANTED}
"""


@dataclass(frozen=True, kw_only=True)
class RaiseLimit(WriteFile):
    """A drop-in for each boot, and its value at once; ``before`` is the one that the kernel has."""

    before: int
    value: int = WATCHES_WANTED

    @property
    def line(self) -> str:
        return f"{super().line} (fs.inotify.max_user_instances from {self.before} to {self.value})"

    def script(self) -> str:
        return f"mkdir -p -m 755 {self.path.rpartition('/')[0]}\n{super().script()}echo {self.value} >{INSTANCES}\n"

    def undo(self) -> tuple[Step, ...]:
        return (*super().undo(), LowerLimit(value=self.before, reason="as it was before"))


@dataclass(frozen=True, kw_only=True)
class LowerLimit(Step):
    """Give the kernel the value back that it had."""

    value: int

    @property
    def line(self) -> str:
        return f"set fs.inotify.max_user_instances to {self.value}"

    def script(self) -> str:
        return f"echo {self.value} >{INSTANCES}\n"


def is_gateway(settings: Mapping[str, str]) -> bool:
    """Whether an agent with these settings serves public ingress; what is neither true nor false it refuses itself."""
    try:
        return boolean(settings.get(GATEWAY, "false"))
    except ValueError:
        return False


def raised(facts: HostFacts, settings: Mapping[str, str]) -> Iterator[Step]:
    """
    What an agent with these settings needs of its kernel.

    On gateways only: no other node watches more than a handful of files. One that allows as much already, whoever saw
    to that, is left alone.
    """
    limit = facts.inotify
    if limit is None or not limit.settable or limit.instances >= WATCHES_WANTED or not is_gateway(settings):
        return
    yield RaiseLimit(
        path=LIMITS_FILE,
        content=CONTENT,
        owner="root:root",
        mode="644",
        previous=facts.files.get(LIMITS_FILE),
        before=limit.instances,
        reason="the node is a gateway, and its Envoy watches a file for each backend and certificate",
    )


def unraisable(facts: HostFacts, settings: Mapping[str, str]) -> Iterator[Trouble]:
    """A kernel that others look after, such as that below a container: the gateway serves all the same."""
    limit = facts.inotify
    if limit is not None and not limit.settable and limit.instances < WATCHES_WANTED and is_gateway(settings):
        yield Trouble(
            text=f"fs.inotify.max_user_instances is {limit.instances} and cannot be set from here",
            mend=f"on the machine below: sudo sysctl -w fs.inotify.max_user_instances={WATCHES_WANTED}",
            fatal=False,
        )


def given_back(facts: HostFacts) -> Iterator[Step]:
    """Of a host that is no node any more; what runs now keeps the higher value until the next boot."""
    if LIMITS_FILE in facts.files:
        yield RemoveFile(path=LIMITS_FILE, reason="the limit of a gateway; the kernel's own is back at the next boot")
