"""Operators' tokens are made, used, run out and are revoked."""

from __future__ import annotations

from typing import Any

import pytest

from fledx.control_plane.trust.operator_tokens import NewToken
from fledx.errors import Conflict, Denied, InvalidSpec, NotFound
from fledx.models.moment import stamp
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio


async def test_a_new_token_lets_in_under_its_name_and_role(stage: Stage) -> None:
    made = await stage.operator_tokens.create(NewToken(name="ci", role="read_only"), by=ME)

    found = stage.tokens.operator(made.token, source="198.51.100.7")

    assert (found.name, found.role, found.token_id, found.source) == ("ci", "read_only", made.token_id, "198.51.100.7")
    with pytest.raises(Denied, match="not known"):
        stage.tokens.operator(made.token + "x", source="here")


async def test_only_its_hash_is_stored(stage: Stage) -> None:
    made = await stage.operator_tokens.create(NewToken(name="ci"), by=ME)

    for file in (stage.store.path, stage.store.path.with_name("fledx.db-wal")):
        assert made.token.encode() not in file.read_bytes()
    assert made.token not in repr(made)


async def test_a_token_runs_out_and_says_so(stage: Stage) -> None:
    made = await stage.operator_tokens.create(NewToken(name="ci", ttl_seconds=60), by=ME)
    stage.tokens.operator(made.token, source="here")
    stage.now += 61

    with pytest.raises(Denied, match="expired at 20") as refused:
        stage.tokens.operator(made.token, source="here")

    assert not refused.value.known


async def test_a_revoked_token_is_refused_at_once_and_its_name_is_free_again(stage: Stage) -> None:
    made = await stage.operator_tokens.create(NewToken(name="ci"), by=ME)

    await stage.operator_tokens.revoke("ci", by=ME)
    await stage.operator_tokens.revoke(made.token_id[:8], by=ME)

    with pytest.raises(Denied, match="was revoked at"):
        stage.tokens.operator(made.token, source="here")
    again = await stage.operator_tokens.create(NewToken(name="ci"), by=ME)
    found, total = stage.operator_tokens.page(limit=50, offset=0)
    assert [(each.token_id, each.revoked_at is None) for each in found] == [
        (again.token_id, True),
        (made.token_id, False),
    ]
    assert total == 2


async def test_its_last_use_is_written_together_with_others_and_not_at_each_use(stage: Stage) -> None:
    made = await stage.operator_tokens.create(NewToken(name="ci"), by=ME)
    writes: list[bool] = []
    stage.store.on_transaction = lambda seconds, durable: writes.append(durable)

    for _ in range(100):
        stage.tokens.operator(made.token, source="here")
    await stage.tokens.flush()
    await stage.tokens.flush()

    assert writes == [False]
    assert stage.operator_tokens.page(limit=1, offset=0)[0][0].last_used_at == stamp(stage.now)


@pytest.mark.parametrize("name", ["ci", "CI", "admin"])
async def test_a_name_means_one_token_those_of_the_settings_included(stage: Stage, name: str) -> None:
    await stage.operator_tokens.create(NewToken(name="ci"), by=ME)

    with pytest.raises(Conflict, match=r"already|settings"):
        await stage.operator_tokens.create(NewToken(name=name), by=ME)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a\x1b[2J"},
        {"role": "root"},
        {"ttl_seconds": 0},
        {"ttl_seconds": 1e12},
        {"expires_at": "yesterday"},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "2101-01-01T00:00:00Z", "ttl_seconds": 1},
    ],
)
async def test_a_token_without_a_sound_name_role_or_end_is_refused(stage: Stage, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        await stage.operator_tokens.create(NewToken(**{"name": "ci", **fields}), by=ME)


async def test_a_token_that_is_not_there_is_not_found_with_the_near_name(stage: Stage) -> None:
    await stage.operator_tokens.create(NewToken(name="deploys"), by=ME)

    with pytest.raises(NotFound) as missing:
        await stage.operator_tokens.revoke("deploy", by=ME)

    assert missing.value.hint == "did you mean deploys?"
