"""All faults of a request together: wrong types, unknown fields, and what the models themselves have to say."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.errors import InvalidSpec
from fledx.models.codec import decode, decode_lenient, encode
from fledx.models.config import ConfigSpec
from fledx.models.deployment import DeploymentSpec
from tests import specs

WRONG = {"wrong type": {"image": 12}, "unknown field": {"image": "x", "colour": 1}, "missing field": {}}


def faults(body: Any, cls: type[Any] = DeploymentSpec) -> set[str]:
    """The paths of what is wrong."""
    with pytest.raises(InvalidSpec) as refused:
        decode(cls, body)
    paths = [path for path, _ in refused.value.problems]
    assert len(set(paths)) == len(paths), "each is told once"
    return set(paths)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_models_own_faults_are_told_together_with_the_shape_of_the_data(wrong: dict[str, Any]) -> None:
    shape = {"image"} if wrong.get("image") != "x" else {"colour"}
    own = {"replicas": 0, "name": "a b", "restart": "perhaps", "labels": {"a=b": "c"}}
    assert shape | {"replicas", "name", "restart", "labels.a=b"} == faults({**wrong, **own})


def test_it_is_so_within_lists_and_within_one_another() -> None:
    body = {
        "image": "nginx",
        "replicas": "two",
        "ports": [{"container_port": 80}, {"container_port": 0, "host_port": "x"}],
        "health": {"liveness": {"type": "exec", "interval_seconds": "soon", "failure_threshold": -1}},
    }
    assert {
        "replicas",
        "ports[1].container_port",
        "ports[1].host_port",
        "health.liveness.interval_seconds",
        "health.liveness.failure_threshold",
        "health.liveness.command",
    } == faults(body)


def test_what_is_said_of_a_stand_in_is_not_told() -> None:
    assert {"image"} == faults({"image": []})
    assert {"entries[0].value"} == faults({"name": "c", "entries": [{"key": "A", "value": 1}]}, ConfigSpec)


WORDS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
ANY = WORDS | st.lists(WORDS, max_size=2) | st.dictionaries(st.text(max_size=5), WORDS, max_size=2)


@given(st.dictionaries(st.sampled_from(sorted(DeploymentSpec.__dataclass_fields__)), ANY))
def test_whatever_stands_in_a_body_nothing_but_a_refusal_comes_of_it(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidSpec):
        assert decode(DeploymentSpec, body).image == str(body["image"]).strip()


@given(specs.specs())
def test_a_spec_is_the_same_when_it_comes_back_from_the_store(spec: DeploymentSpec) -> None:
    """The store hands out the one it was given: nobody may see a difference to the one it would read."""
    assert spec == decode_lenient(DeploymentSpec, json.loads(json.dumps(encode(spec))))
