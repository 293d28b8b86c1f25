"""What a label of a node must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fledx.errors import InvalidSpec
from fledx.models.check import line, shown

FORMS = "key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
SET = re.compile(r"([^\s=!,()]+)\s+(not\s*in|in)\s*\(([^()]*)\)")
EQUAL = re.compile(r"([^=!]*?)\s*(!=|==?)\s*(.*)")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """
    The label ``key`` is there, with one of ``values`` if any are given; ``negated`` turns it round.

    A node without the label satisfies every negated rule.
    """

    key: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def __post_init__(self) -> None:
        for text in (self.key, *filter(None, self.values)):
            if (fault := line(text)) is not None:
                raise InvalidSpec("rule", fault)
        if set(self.key) & set("=,!()"):
            raise InvalidSpec("rule", f"{shown(self.key)} is not a label's key", hint=f"write {FORMS}")

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read ``key=value | key!=value | key in (a,b) | key notin (a,b) | key | !key``."""
        text = text.strip()
        if found := SET.fullmatch(text):
            values = tuple(dict.fromkeys(value.strip() for value in found[3].split(",")))
            return cls(key=found[1], values=values, negated=found[2] != "in")
        if found := EQUAL.fullmatch(text):
            return cls(key=found[1].strip(), values=(found[3],), negated=found[2] == "!=")
        return cls(key=text.removeprefix("!").strip(), negated=text.startswith("!"))

    def allows(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels satisfies the rule."""
        value = labels.get(self.key)
        return (value is not None and (not self.values or value in self.values)) is not self.negated

    @property
    def wanted(self) -> str:
        """The rule as it reads without its negation."""
        if len(self.values) > 1:
            return f"{self.key} in ({', '.join(self.values)})"
        return f"{self.key}={self.values[0]}" if self.values else self.key

    def __str__(self) -> str:
        if not self.negated:
            return self.wanted
        if len(self.values) > 1:
            return f"{self.key} notin ({', '.join(self.values)})"
        return f"{self.key}!={self.values[0]}" if self.values else f"!{self.key}"
