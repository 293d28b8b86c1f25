"""What an engine is asked for: the limits of a container; those of other kinds are seen to arrive on real engines."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.agent.runtime.containers import ContainerSpec
from fledx.agent.runtime.shapes import create_body
from fledx.models.template import Limits


def _asked(limits: Limits | None) -> tuple[Any, ...]:
    host = create_body(ContainerSpec(name="web-0", image="app:1", limits=limits))["HostConfig"]
    return tuple(host[name] for name in ("NanoCpus", "Memory", "PidsLimit"))


def test_limits_are_asked_for_in_the_engines_units() -> None:
    limits = Limits(cpu_millis=250, memory_bytes=64 * 1024 * 1024, pids=77)
    assert (250_000_000, 64 * 1024 * 1024, 77) == _asked(limits)


@pytest.mark.parametrize("limits", [None, Limits()])
def test_where_there_are_none_none_is_asked_for(limits: Limits | None) -> None:
    assert (0, 0, None) == _asked(limits)
