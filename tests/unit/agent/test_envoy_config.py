"""What Envoy is told: which path wins, what is redirected, what is tried again, and the order of its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledx.agent.ingress.envoy_config.bootstrap import bootstrap
from fledx.agent.ingress.envoy_config.files import EnvoyFile, files_of, fits_watches, flattened, structure_of
from fledx.agent.ingress.envoy_config.shapes import Cluster, Front, Served, Target
from fledx.agent.ingress.envoy_config.upgrades import passed_by
from fledx.models.ingress import GatewayCertificate, Route
from tests.unit.agent.gateways import CHAT, SHOP, route, served

FAKE = GatewayCertificate(name="shop", hosts=("shop.example.com",), chain="CHAIN", key="KEY")
FRONT = Front()


def files(what: Served, front: Front = FRONT, *, inline: bool = False) -> dict[str, EnvoyFile]:
    return {file.name: file for file in files_of(what, front, inline=inline)}


def resource(what: Served, name: str, front: Front = FRONT) -> Any:
    (found,) = json.loads(files(what, front)[name].body)["resources"]
    return found


def matched(what: Served) -> list[tuple[str, str]]:
    """Kind and text of the matches of the first host in their order, each once."""
    pairs = [next((key, entry["match"][key]) for key in entry["match"] if key != "headers") for entry in entries(what)]
    return list(dict.fromkeys(pairs))


def entries(what: Served, front: Front = FRONT) -> list[Any]:
    found: list[Any] = resource(what, "rds-http.json", front)["virtual_hosts"][0]["routes"]
    return found


def test_the_exact_path_wins_then_the_longest_prefix_whatever_the_order_they_came_in() -> None:
    rules = [route(), route("/api"), route("/api/v2"), route("/api", path_type="exact")]
    expected = [
        ("path", "/api"),
        ("path_separated_prefix", "/api/v2"),
        ("path_separated_prefix", "/api"),
        ("prefix", "/"),
    ]
    assert expected == matched(served(*rules))
    assert expected == matched(served(*reversed(rules)))


def test_a_prefix_ends_at_a_slash_and_a_rewritten_one_never_doubles_it() -> None:
    (first, *_, last) = entries(served(route("/api", rewrite="/")))
    assert ({"path": "/api"}, "/") == ({"path": first["match"]["path"]}, first["route"]["prefix_rewrite"])
    assert ("/api/", "/") == (last["match"]["prefix"], last["route"]["prefix_rewrite"])
    kept = [(e["match"], e["route"]["prefix_rewrite"]) for e in entries(served(route("/api", rewrite="/v1/")))]
    assert {"/v1", "/v1/"} == {to for _, to in kept}
    assert all(to.endswith("/") == ("prefix" in match) for match, to in kept)


def test_what_changes_nothing_is_sent_again_and_the_rest_only_if_no_backend_has_seen_it() -> None:
    upgrade, harmless, rest = entries(served(route()))
    assert "reset" in harmless["route"]["retry_policy"]["retry_on"].split(",")
    for each in (upgrade, rest):
        assert "reset" not in each["route"]["retry_policy"]["retry_on"].split(",")
    assert "GET|HEAD|OPTIONS" in json.dumps(harmless["match"])


def test_an_upgraded_connection_may_be_silent_and_has_no_limit() -> None:
    upgrade, harmless, _ = entries(served(route(timeout_seconds=2.5, max_body_bytes=1000)))
    assert ("0s", "0s") == (upgrade["route"]["timeout"], upgrade["route"]["idle_timeout"])
    assert "typed_per_filter_config" not in upgrade
    assert "2.5s" == harmless["route"]["timeout"]
    limit = harmless["typed_per_filter_config"]["envoy.filters.http.buffer"]["buffer"]
    assert {"max_request_bytes": 1000} == limit


def test_what_listeners_pass_as_an_upgrade_is_what_routes_take_for_one() -> None:
    front = replace(FRONT, upgrades=passed_by("7c9a/1.40.0/Clean/RELEASE/BoringSSL"))
    connections = resource(served(route()), "lds.json", front)["filter_chains"][0]["filters"][0]["typed_config"]
    passed = [each["upgrade_type"] for each in connections["upgrade_configs"]]
    assert ["websocket", "tcp", "spdy/3.1"] == passed
    (upgrade,) = entries(served(route()), front)[0]["match"]["headers"]
    taken = re.compile(upgrade["string_match"]["safe_regex"]["regex"])
    assert all(taken.fullmatch(word) for each in passed for word in (each, each.upper()))
    assert not any(taken.fullmatch(word) for word in ("h2c", "tcp, h2c", "spdy/3x1", "websocket2", ""))
    assert "allow_connect" not in connections["http2_protocol_options"]


@pytest.mark.parametrize(
    "version", ["7c9a/1.39.3/Clean/RELEASE/BoringSSL", "7c9a/1.4.0/Clean", "0.99.9", "140", "", "1.40"]
)
def test_an_envoy_that_does_not_hold_bytes_back_or_hides_its_version_passes_websockets_only(version: str) -> None:
    assert ("websocket",) == passed_by(version)
    assert "h2c" not in passed_by("7c9a/2.0.1-dev/Clean/RELEASE/BoringSSL")


def test_cleartext_is_sent_to_tls_only_where_a_certificate_covers_the_host() -> None:
    rules = (route(), route(host="other.example.com"), route(host="a.apps.example.com"), route(host="open.example.com"))
    rules = (*rules[:3], replace(rules[3], https_redirect=False))
    names = ("shop.example.com", "*.apps.example.com", "open.example.com")
    what = served(*rules, certificates=(replace(FAKE, hosts=names),))
    hosts = resource(what, "rds-http.json")["virtual_hosts"]
    redirected = {host["name"] for host in hosts if any("redirect" in each for each in host["routes"])}
    assert {"shop.example.com", "a.apps.example.com"} == redirected
    assert not any(
        "redirect" in each for host in resource(what, "rds-https.json")["virtual_hosts"] for each in host["routes"]
    )
    assert "rds-https.json" not in files(served(*rules))


def test_a_redirect_names_the_port_of_tls_unless_it_is_the_usual_one() -> None:
    what = served(route(), certificates=(FAKE,))

    def port(front: Front) -> Any:
        last = resource(what, "rds-http.json", front)["virtual_hosts"][0]["routes"][-1]
        return last["redirect"].get("port_redirect")

    assert 10443 == port(FRONT)
    assert port(replace(FRONT, http_port=80, https_port=443)) is None


def test_a_proof_for_a_certificate_authority_is_answered_in_the_clear() -> None:
    table = matched(served(route(), certificates=(FAKE,)))
    assert [("prefix", "/.well-known/acme-challenge/"), ("prefix", "/")] == table


def test_a_file_is_written_before_what_names_it() -> None:
    order = [file.name for file in files_of(served(route(), certificates=(FAKE,)), FRONT, inline=False)]
    at = {name: position for position, name in enumerate(order)}
    assert at["eds-d-shop-8080.json"] < at["cds.json"] < at["rds-http.json"] < at["lds.json"]
    assert at["sds-shop.json"] < at["lds.json"]
    assert at["rds-https.json"] < at["lds.json"]
    assert len(order) == len(at)


def test_only_endpoints_change_when_an_instance_comes_or_drains() -> None:
    before = served(route(), shop=(Target(address="172.17.0.2", port=8080),))
    after = served(route(), shop=(Target(address="172.17.0.2", port=8080, draining=True), Target(address="ab12.sock")))
    changed = {name for name, file in files(after).items() if file != files(before)[name]}
    assert {"eds-d-shop-8080.json"} == changed
    for inline in (False, True):
        assert structure_of(before, FRONT, inline=inline) == structure_of(after, FRONT, inline=inline)
    assert structure_of(before, FRONT, inline=False) != structure_of(served(route("/new")), FRONT, inline=False)


def test_a_draining_endpoint_gets_nothing_new_and_a_socket_is_not_checked_by_envoy() -> None:
    what = served(route(), shop=(Target(address="172.17.0.2", port=8080, draining=True), Target(address="ab.sock")))
    (group,) = resource(what, "eds-d-shop-8080.json")["endpoints"]
    socket, host = group["lb_endpoints"]
    assert "/sock/ab.sock" == socket["endpoint"]["address"]["pipe"]["path"]
    assert socket["endpoint"]["health_check_config"] == {"disable_active_health_check": True}
    assert "DRAINING" == host["health_status"]
    assert "health_status" not in socket


def test_inline_has_the_same_endpoints_and_no_files_of_their_own() -> None:
    what = served(route(), shop=(Target(address="172.17.0.2", port=8080),))
    flat = json.loads(files(what, inline=True)["cds.json"].body)["resources"][0]
    assert flat["load_assignment"]["endpoints"] == resource(what, "eds-d-shop-8080.json")["endpoints"]
    assert not any(name.startswith("eds-") for name in files(what, inline=True))


def test_endpoints_have_files_of_their_own_while_the_watches_are_enough() -> None:
    clusters = tuple(Cluster(name=f"d-{number}-80") for number in range(53))
    assert fits_watches(Served(clusters=clusters, certificates=(FAKE,)), 64)
    assert not fits_watches(Served(clusters=(*clusters, Cluster(name="d-x-80")), certificates=(FAKE,)), 64)


def test_two_certificates_for_one_host_are_told_apart_by_name() -> None:
    second = replace(FAKE, name="wide", hosts=("shop.example.com", "*.example.com"))
    for both in ((FAKE, second), (second, FAKE)):
        chains = json.loads(files(served(certificates=both))["lds.json"].body)["resources"][1]["filter_chains"]
        assert [["shop.example.com"], ["*.example.com"]] == [
            each["filter_chain_match"]["server_names"] for each in chains
        ]


def test_what_a_client_says_of_itself_is_dropped_unless_a_proxy_is_trusted() -> None:
    def manager(front: Front) -> Any:
        return resource(served(route()), "lds.json", front)["filter_chains"][0]["filters"][0]["typed_config"]

    (dropped,) = manager(FRONT)["early_header_mutation_extensions"]
    names = {each["remove"] for each in dropped["typed_config"]["mutations"]}
    assert {"x-forwarded-for", "x-forwarded-proto", "forwarded", "x-real-ip"} <= names
    trusting = manager(replace(FRONT, hops=1))
    assert ("early_header_mutation_extensions" in trusting, trusting["xff_num_trusted_hops"]) == (False, 1)


def test_the_proxy_protocol_is_read_before_anything_else() -> None:
    front = replace(FRONT, proxy_protocol=True)
    heard = json.loads(files(served(certificates=(FAKE,)), front)["lds.json"].body)["resources"]
    names = [[each["name"].rpartition(".")[2] for each in listener["listener_filters"]] for listener in heard]
    assert [["proxy_protocol"], ["proxy_protocol", "tls_inspector"]] == names


def test_keys_lie_in_the_files_of_secrets_alone() -> None:
    for name, file in files(served(route(), certificates=(FAKE,))).items():
        assert (b"KEY" in file.body) == name.startswith("sds-")
        assert "KEY" not in repr(file)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b", "", "x" * 300, "ä", "a/b", ".hidden"])
def test_no_name_leads_out_of_the_directory(name: str) -> None:
    what = Served(
        clusters=(Cluster(name=name, targets=(Target(address="a.sock"),)),), certificates=(replace(FAKE, name=name),)
    )
    for file in files(what).values():
        assert "/" not in file.name
        assert file.name.endswith(".json")
        assert len(file.name) < 120


paths = st.lists(st.sampled_from(["a", "b", "api", "v1"]), max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.tuples(paths, st.sampled_from(["prefix", "exact"])), unique=True, min_size=1, max_size=6), paths)
def test_every_request_goes_where_the_rules_say(rules: list[tuple[str, str]], asked: str) -> None:
    """Envoy's first match over the table, against the sentence: exact before prefix, longer before shorter."""
    routes = tuple(Route(host="h", path=path, path_type=kind, backend=f"{kind}:{path}") for path, kind in rules)
    table = resource(Served(routes=routes), "rds-http.json")["virtual_hosts"][0]["routes"]
    plain = [each for each in table if "headers" not in each["match"]]
    found = next((each["route"]["cluster"] for each in plain if _matches(each["match"], asked)), None)
    fitting = [each for each in routes if _fits(each, asked)]
    best = max(fitting, key=lambda each: (each.path_type == "exact", len(each.path)), default=None)
    assert (best.backend if best else None) == found


def _fits(rule: Route, path: str) -> bool:
    if rule.path_type == "exact" or rule.path == path:
        return rule.path == path
    return path.startswith(rule.path if rule.path.endswith("/") else f"{rule.path}/")


def _matches(match: dict[str, str], path: str) -> bool:
    if "path" in match:
        return match["path"] == path
    if "prefix" in match:
        return path.startswith(match["prefix"])
    separated = match["path_separated_prefix"]
    return path == separated or path.startswith(f"{separated}/")


def test_the_file_to_check_by_names_no_other_and_no_endpoint() -> None:
    what = served(route(), certificates=(FAKE,), shop=(Target(address="172.17.0.2", port=8080),))
    flat = flattened(bootstrap(FRONT, "n1"), what, FRONT)
    assert b"path_config_source" not in flat
    assert b"172.17.0.2" not in flat
    names = [each["name"] for each in json.loads(flat)["static_resources"]["clusters"]]
    assert [SHOP, CHAT] == names
