"""Volumes over HTTP: streams in and out without the limits of other requests, and not for those who may only read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from fledx.errors import NotFound, Unavailable
from fledx.models.archive import Sum, Unwrapped
from fledx.models.volume import Volume
from tests.builders import NOW
from tests.unit.api.site import Site

pytestmark = pytest.mark.anyio
ONE = "/api/v1/deployments/web/volumes/data"
TAR = {"content-type": "application/x-tar"}


def volume() -> Volume:
    return Volume(
        deployment="web",
        replica_number=0,
        volume="data",
        node="edge-1",
        state="current",
        name="fledx-web-data-0",
        node_id="n",
        deployment_id="d",
        created_at=NOW,
    )


class FakeVolumes:
    """Answers, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.problem: Exception | None = None
        self.received = 0

    def page(self, deployment: str | None, *, limit: int, offset: int) -> tuple[list[Volume], int]:
        self.asked.append((deployment, limit, offset))
        return [volume()], 1

    async def measured(self, volumes: list[Volume]) -> list[Volume]:
        return [replace(each, size_bytes=4096) for each in volumes]

    async def backup(
        self, ref: str, name: str, *, replica: int | None, mode: str, by: Any
    ) -> AsyncGenerator[bytes, None]:
        self.asked.append((ref, name, replica, mode))
        if isinstance(self.problem, NotFound):
            raise self.problem
        yield b"a part"
        if self.problem is not None:
            raise self.problem
        found = Sum()
        found.add(b"a part")
        yield found.last_block()

    async def restore(
        self, ref: str, name: str, *, replica: int | None, pieces: AsyncIterator[bytes], by: Any
    ) -> Volume:
        self.asked.append((ref, name, replica))
        async for piece in pieces:
            self.received += len(piece)
        return volume()


@pytest.fixture
def site() -> Site:
    return Site(volumes=FakeVolumes())


async def test_the_list_is_narrowed_to_a_deployment(site: Site) -> None:
    answer = await site.call("GET", "/api/v1/volumes?deployment=web&limit=3")
    assert (200, 1) == (answer.status, answer.json()["total"])
    assert [("web", 3, 0)] == site.volumes.asked
    assert "size_bytes" not in answer.json()["items"][0]


async def test_sizes_are_measured_only_for_who_asks(site: Site) -> None:
    answer = await site.call("GET", "/api/v1/volumes?sizes=true")
    assert 4096 == answer.json()["items"][0]["size_bytes"]


async def test_a_backup_streams_out_whole(site: Site) -> None:
    answer = await site.call("POST", f"{ONE}/backup?replica=2&mode=stop")
    assert (200, "application/x-tar") == (answer.status, answer.headers["content-type"])
    backup = Unwrapped()
    assert b"a part" == backup.take(answer.body)
    backup.end()
    assert [("web", "data", 2, "stop")] == site.volumes.asked


async def test_an_error_before_the_first_byte_has_its_status_and_one_after_it_is_the_last_block(site: Site) -> None:
    site.volumes.problem = NotFound("web has no volume 'data'")
    assert (await site.call("POST", f"{ONE}/backup")).status == 404
    site.volumes.problem = Unavailable("the node is away")
    answer = await site.call("POST", f"{ONE}/backup")
    backup = Unwrapped()
    backup.take(answer.body)
    with pytest.raises(Unavailable, match="the node is away"):
        backup.end()


async def test_a_restore_may_be_larger_than_any_other_body(site: Site) -> None:
    size = site.settings.limits_body_bytes // 65536 * 65536 + 1024 * 1024
    answer = await site.call("POST", f"{ONE}/restore", body=[bytes(65536)] * (size // 65536), headers=TAR)
    assert (200, "edge-1") == (answer.status, answer.json()["node"])
    assert size == site.volumes.received


async def test_a_body_of_another_type_is_refused(site: Site) -> None:
    answer = await site.call("POST", f"{ONE}/restore", body=b"{}", headers={"content-type": "application/json"})
    assert answer.status == 415
    assert site.volumes.received == 0


async def test_who_may_only_read_gets_neither_and_that_is_written_down(site: Site) -> None:
    viewer = site.caller(token="read_only")
    for path in (f"{ONE}/backup", f"{ONE}/restore"):
        assert (await viewer("POST", path, body=b"", headers=TAR)).status == 403
    assert site.volumes.asked == []
