"""An idle node of ten instances keeps to its budget on the wire, reckoned from what it really sends in an hour."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from fledx.agent.report import METERED, USUAL, Rhythm
from fledx.agent.stats import METERED_SAMPLE_SECS, SAMPLE_SECS
from fledx.control_plane.reachability import METERED_HEARTBEAT_SECS
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.tunnel.frames import MESSAGE, map_frame
from fledx.tunnel.session import HEARTBEAT
from tests.unit.agent.test_report import desk, web
from tests.waiting import until

pytestmark = pytest.mark.anyio
HEADERS = 20 + 32
"""IPv4 and TCP with timestamps, of each packet and of each acknowledgement."""

TLS_RECORD = 5 + 1 + 16
HOURS = 1
MONTH_HOURS = 30 * 24
USUAL_HEARTBEAT_SECS = ControlPlaneSettings().tunnel_heartbeat_interval_secs


def idle(chance: random.Random) -> Iterator[list[dict[str, Any]]]:
    """Round after round of samples of ten idle replicas: CPU trembles, memory and network move now and then."""
    state: list[list[Any]] = [
        [str(uuid.UUID(int=chance.getrandbits(128))), chance.randrange(10**6, 10**8), 5000] for _ in range(10)
    ]
    while True:
        for each in state:
            each[1] += chance.choice([0, 0, 0, 4096, -4096])
            each[2] += chance.choice([0, 0, 0, 0, 180])
        yield [
            {
                "deployment_id": name,
                "replica_number": 0,
                "cpu_percent": round(chance.uniform(0, 0.3), 2),
                "memory_bytes": memory,
                "network_rx_bytes": received,
                "network_tx_bytes": 900,
                "blk_read_bytes": 0,
                "blk_write_bytes": 4096,
            }
            for name, memory, received in state
        ]


def on_the_wire(messages: Sequence[Mapping[str, Any]], along: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of messages that each travel in a packet of their own, but for those that a heartbeat's packet carries."""
    alone = (len(messages) - len(along)) * (TLS_RECORD + 2 * HEADERS)
    return sum(len(map_frame(MESSAGE, each)) for each in messages) + alone - len(along) * len(HEARTBEAT)


@pytest.mark.parametrize(
    ("heartbeat", "sampling", "rhythm", "megabytes"),
    [
        (USUAL_HEARTBEAT_SECS, SAMPLE_SECS, USUAL, 75),
        (METERED_HEARTBEAT_SECS, METERED_SAMPLE_SECS, METERED, 15),
    ],
    ids=["usual", "metered"],
)
async def test_a_month_of_an_idle_node(heartbeat: float, sampling: float, rhythm: Rhythm, megabytes: int) -> None:
    async with desk(rhythm=rhythm) as it:
        it.see(*(web(number) for number in range(10)))
        await it.connect()
        it.link.sent.clear()
        rounds = idle(random.Random(1))
        for told in range(int(HOURS * 3600 / rhythm.digest)):
            for _ in range(int(rhythm.digest / sampling)):
                minute = int(it.clock.utc().timestamp() // 60)
                it.reporter.sampled([{**each, "minute": minute} for each in next(rounds)])
                it.clock.advance(sampling)
            await until(lambda told=told: len(it.link.along) > told)  # type: ignore[misc]
    beats = HOURS * 3600 / heartbeat * (len(HEARTBEAT) + TLS_RECORD + 2 * HEADERS)
    month = (beats + on_the_wire(it.link.sent, it.link.along)) / HOURS * MONTH_HOURS / 1e6

    assert {"usage", "digest"} == {each["type"] for each in it.link.sent}
    assert month <= megabytes
