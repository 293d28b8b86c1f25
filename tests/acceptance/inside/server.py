"""A starlette application under hypercorn answers one request and shuts down."""

from __future__ import annotations

import tempfile
from functools import partial

import anyio
import hypercorn.asyncio
import hypercorn.config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"hello": request.path_params["name"]})


async def main() -> None:
    stop = anyio.Event()
    with tempfile.TemporaryDirectory() as folder:
        config = hypercorn.config.Config()
        config.bind = [f"unix:{folder}/socket"]
        config.errorlog = None
        serve = partial(hypercorn.asyncio.serve, shutdown_trigger=stop.wait)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, Starlette(routes=[Route("/{name}", hello)]), config)
            answer = await ask(f"{folder}/socket")
            stop.set()
    assert b'{"hello":"world"}' in answer, answer


async def ask(path: str) -> bytes:
    with anyio.fail_after(120):
        while True:
            try:
                stream = await anyio.connect_unix(path)
            except OSError:
                await anyio.sleep(0.01)
                continue
            async with stream:
                await stream.send(b"GET /world HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b"".join([part async for part in stream])


anyio.run(main)
