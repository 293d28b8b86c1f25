"""Rules about labels, as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.errors import InvalidSpec
from fledx.models.codec import decode
from fledx.models.placement import Constraints
from fledx.models.rule import Rule

WORD = st.text("abcdefgXYZ019._/-", min_size=1, max_size=8).filter(lambda word: word not in ("in", "not"))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("disk=ssd", Rule(key="disk", values=("ssd",))),
        (" disk == ssd ", Rule(key="disk", values=("ssd",))),
        ("disk=", Rule(key="disk", values=("",))),
        ("disk!=hdd", Rule(key="disk", values=("hdd",), negated=True)),
        ("zone in (a, b)", Rule(key="zone", values=("a", "b"))),
        ("zone in (a)", Rule(key="zone", values=("a",))),
        ("zone not in (a,b,a)", Rule(key="zone", values=("a", "b"), negated=True)),
        ("zone notin(a)", Rule(key="zone", values=("a",), negated=True)),
        ("gpu", Rule(key="gpu")),
        ("! gpu", Rule(key="gpu", negated=True)),
        ("fledx.io/role=db", Rule(key="fledx.io/role", values=("db",))),
    ],
)
def test_every_form_is_read(text: str, read: Rule) -> None:
    assert read == Rule.parse(text)


@pytest.mark.parametrize("text", ["", " ", "!", "=x", "!=x", "a in (b", "a,b", "!a!b", "(a)", "a\x00", "k\u202e=v"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        Rule.parse(text)


@given(WORD, st.lists(WORD, max_size=3, unique=True), st.dictionaries(WORD, WORD, max_size=3))
def test_a_rule_written_down_is_read_back_and_its_negation_allows_the_rest(
    key: str, values: list[str], labels: dict[str, str]
) -> None:
    rule = Rule(key=key, values=tuple(values))
    opposite = Rule(key=key, values=tuple(values), negated=True)
    assert (rule, opposite) == (Rule.parse(str(rule)), Rule.parse(str(opposite)))
    assert rule.allows(labels) is not opposite.allows(labels)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except InvalidSpec:
        return
    assert rule == Rule.parse(str(rule))


def test_a_faulty_rule_of_a_spec_is_named_by_its_path() -> None:
    with pytest.raises(InvalidSpec) as fault:
        decode(Constraints, {"rules": ["disk=ssd", "a in (b"]})
    assert [path for path, _ in fault.value.problems] == ["rules[1]"]
