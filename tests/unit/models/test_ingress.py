"""Hosts, paths and rules of public ingress: what is one, what is none, and what it becomes."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.errors import InvalidSpec
from fledx.models.codec import decode, encode
from fledx.models.deployment import DeploymentSpec
from fledx.models.ingress import IngressRule, host_fault, path_fault
from fledx.models.port import PortMapping
from tests.builders import spec

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PART = st.from_regex(r"[A-Za-z0-9_~-]{1,8}", fullmatch=True)
PATHS = st.lists(PART, max_size=4).map(lambda parts: "/" + "/".join(parts))
RULES = st.builds(
    IngressRule,
    host=st.one_of(HOSTS, HOSTS.map(lambda host: f"*.{host}")),
    path=PATHS,
    path_type=st.sampled_from(["prefix", "exact"]),
    port=st.one_of(st.none(), st.integers(1, 65535)),
    protocol=st.sampled_from(["http", "h2c"]),
    rewrite=st.one_of(st.none(), PATHS),
    timeout_seconds=st.floats(0, 86400),
    max_body_bytes=st.one_of(st.none(), st.integers(1, 1 << 30)),
    https_redirect=st.booleans(),
)
HOSTILE = [
    *("", " ", "a b.example", "shop.example.com\nx", "shop\x1b[31m.example", "shop\u202e.example", "-a.example"),
    *("a-.example", "a..example", ".example", "shöp.example", "🙂.example", "$(id).example", "a;b.example"),
    *("' OR 1=1", "<b>.example", "--flag", "*", "*.", "a.*.example", "**.example", "shop.example:80", "a/b"),
    *("x" * 64 + ".example", "a." * 127 + "aa", "a\x00b"),
]
BAD_PATHS = [
    *("", "api", "/a b", "/a\nb", "/\x1b[2J", "/../etc", "/a/../b", "/a/.", "//a", "/a//b", "/é", "/a%2fb"),
    *("/a?b", "/a#b", "/a\\b", "/" + "x" * 512, "/a/..", "/\u202e", "/\x00"),
]


@pytest.mark.parametrize("host", HOSTILE)
def test_a_host_that_is_no_dns_name_is_refused_and_shown_harmless_fault_41(host: str) -> None:
    with pytest.raises(InvalidSpec) as fault:
        IngressRule(host=host)
    assert fault.value.problems[0][0] == "host"
    assert fault.value.text.isprintable()


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_envoy_would_not_see_so_is_refused_and_shown_harmless_fault_41(path: str) -> None:
    for field in ("path", "rewrite"):
        with pytest.raises(InvalidSpec) as fault:
            decode(IngressRule, {"host": "a.example", field: path})
        assert fault.value.problems[0][0] == field
        assert fault.value.text.isprintable()


@given(st.text(max_size=300), st.text(max_size=600))
def test_whatever_is_accepted_is_a_plain_word(host: str, path: str) -> None:
    if host_fault(host) is None:
        assert re.fullmatch(r"[a-z0-9.*-]{1,253}", host)
    if path_fault(path) is None:
        assert re.fullmatch(r"/[!-~]{0,511}", path)
        assert ".." not in path.split("/")


@given(RULES)
def test_a_rule_travels_whole(rule: IngressRule) -> None:
    assert rule == decode(IngressRule, encode(rule))


@given(RULES)
def test_a_rule_is_written_as_the_command_line_reads_it(rule: IngressRule) -> None:
    told = IngressRule.parse(str(rule))
    plain = IngressRule(host=rule.host, path=rule.path, port=rule.port)
    assert plain == told or (rule.path_type, rule.path) == ("exact", told.path + "/")


@pytest.mark.parametrize(
    ("text", "host", "path", "port"),
    [
        ("shop.example.com", "shop.example.com", "/", None),
        ("Shop.Example.com.", "shop.example.com", "/", None),
        ("shop.example.com:8080", "shop.example.com", "/", 8080),
        ("*.example.com/api/v1:80", "*.example.com", "/api/v1", 80),
        ("shop.example.com/api/", "shop.example.com", "/api", None),
    ],
)
def test_the_command_line_form_is_read(text: str, host: str, path: str, port: int | None) -> None:
    rule = IngressRule.parse(text)
    assert (rule.host, rule.path, rule.port) == (host, path, port)


@pytest.mark.parametrize("text", ["shop.example.com:http", "shop.example.com:", "a.example:80:90x"])
def test_what_cannot_be_read_says_what_would_have_been_right(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"shop\.example\.com"):
        IngressRule.parse(text)


def ports(*numbers: int, protocol: str = "tcp") -> tuple[PortMapping, ...]:
    return tuple(PortMapping(container_port=number, protocol=protocol) for number in numbers)


def test_a_rule_without_a_port_means_the_only_one_and_several_are_named() -> None:
    rule = IngressRule(host="a.example")
    assert spec(ports=ports(80), ingress=(rule,)).tcp_ports == (80,)
    assert spec(ports=(*ports(80), *ports(53, protocol="udp")), ingress=(rule,)).ingress == (rule,)

    with pytest.raises(InvalidSpec, match=r"ingress\[0\].port: is needed, as there are 80, 443: such as a.ex"):
        spec(ports=ports(80, 443), ingress=(rule,))
    with pytest.raises(InvalidSpec, match="is needed, as the deployment has no port"):
        spec(ingress=(rule,))


def test_a_port_of_a_rule_need_not_be_published() -> None:
    assert spec(ingress=(IngressRule(host="a.example", port=9000),)).ports is None


def test_the_same_host_and_path_twice_is_refused_with_its_place() -> None:
    twice = (IngressRule(host="a.example", port=1), IngressRule(host="A.example.", path="/", port=2))
    with pytest.raises(InvalidSpec, match=r"ingress\[1\]: a.example/ \(prefix\) is listed twice"):
        spec(ingress=twice)


def test_all_faults_of_a_rule_come_by_their_paths() -> None:
    bad = {"host": "a b", "path": "x", "path_type": "regex", "port": 0, "protocol": "tcp", "timeout_seconds": -1.0}
    with pytest.raises(InvalidSpec) as fault:
        decode(DeploymentSpec, {"image": "x", "ingress": [{**bad, "max_body_bytes": 0}]})
    told = {path for path, _ in fault.value.problems}
    assert told == {f"ingress[0].{name}" for name in (*bad, "max_body_bytes")}
    assert told <= {f"ingress[0].{field.name}" for field in fields(IngressRule)}
