"""What a thousand agents cost that only send a heartbeat now and then."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from fledx.tunnel.dial import dial
from tests.unit.tunnel.world import HELLO, Trust, echo

LINKS = 1000
MOST_KIB = 28
"""OpenSSL alone takes 16, anyio's task 4; 23 were seen on CPython 3.11. asyncio's own TLS would take 280."""

LISTENER = """
import sys, anyio, gc
from fledx.tunnel.greeting import Welcome
from fledx.tunnel.listen import Listener
from fledx.tunnel.tls import server_context

def resident():
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("VmRSS"))

async def judge(hello, address):
    return Welcome(session=address)

async def host(link):
    link.attend(on_stream=None, on_message=None)
    await link.closed()

async def main(certificate, key):
    listener = Listener(authenticate=judge, on_link=host, tls=server_context(certificate, key))
    print(listener.bind("127.0.0.1", 0), flush=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        async for _ in lines():
            gc.collect()
            print(len(listener.links), resident(), flush=True)

async def lines():
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        yield line

anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many sockets as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_idle_links_cost_little(trust: Trust) -> None:
    words = [sys.executable, "-c", LISTENER, trust.certificate, trust.key]
    root = Path(__file__).resolve().parents[3]
    async with (
        await anyio.open_process(words, cwd=root, stderr=None) as child,
        anyio.create_task_group() as tasks,
    ):
        assert child.stdout
        lines = BufferedByteReceiveStream(child.stdout)
        port = int(await lines.receive_until(b"\n", 100))

        async def ask() -> tuple[int, int]:
            """Links and resident KiB of the listener."""
            assert child.stdin
            await child.stdin.send(b"\n")
            links, kib = (await lines.receive_until(b"\n", 100)).split()
            return int(links), int(kib)

        await _dial(tasks, port, trust, 100)
        few = await ask()
        await _dial(tasks, port, trust, LINKS)
        many = await ask()
        tasks.cancel_scope.cancel()
        child.kill()

    assert many[0] - few[0] == LINKS
    each = (many[1] - few[1]) / LINKS
    assert each < MOST_KIB, f"{each:.1f} KiB for each"


async def _dial(tasks: TaskGroup, port: int, trust: Trust, count: int) -> None:
    tls = trust.client()
    for _ in range(count):
        await dial("127.0.0.1", port, tls=tls, hello=HELLO, tasks=tasks, on_stream=echo, on_message=print)
