"""Gateways' certificates: checked when they come, sealed while they lie, sent to gateways, told of before they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from fledx.control_plane.audit import AuditFilter
from fledx.control_plane.ingress.certificates import Certificates
from fledx.control_plane.loops.certificates import Endings
from fledx.control_plane.metrics import Metrics
from fledx.errors import Conflict, InvalidSpec, NotFound
from fledx.models.certificate import Candidate, chosen, covers
from fledx.models.ingress import GatewayCertificate, GatewayFacts, IngressRule
from fledx.sealing import Seal
from tests.builders import spec
from tests.issued import DAY, Issued, issued, key_pem
from tests.unit.control_plane.conftest import ME, Stage

pytestmark = pytest.mark.anyio
CLOCK = 1_764_072_000.0
SHOP = ("shop.example.com", "*.shop.example.com")


def other_key(it: Issued) -> tuple[str, str]:
    return it.chain, issued(SHOP, now=CLOCK).key


def encrypted(it: Issued) -> tuple[str, str]:
    return it.chain, key_pem(ec.generate_private_key(ec.SECP256R1()), b"passphrase")


def wrong_order(it: Issued) -> tuple[str, str]:
    return issued(["an.authority"], now=CLOCK).chain + it.chain, it.key


BAD: dict[str, tuple[Callable[[Issued], tuple[str, str]], str]] = {
    "no certificate": (lambda it: ("hello", it.key), "chain: holds no certificate in PEM"),
    "DER or rubbish": (lambda it: ("\x00\x01\ufffd", it.key), "chain: holds no certificate in PEM"),
    "cut": (lambda it: (it.chain[:200], it.key), "chain: holds no certificate in PEM"),
    "altered": (lambda it: (it.chain.replace("MII", "MIX", 1), it.key), "chain: its certificate 1 is damaged"),
    "empty": (lambda it: ("", ""), "chain: holds no certificate"),
    "huge": (lambda it: (it.chain + "x" * 200_000, it.key), "chain: has 20"),
    "no key": (lambda it: (it.chain, it.chain), "key: holds no private key in PEM"),
    "a key cut": (lambda it: (it.chain, it.key[:100]), "key: holds no private key"),
    "a key altered": (lambda it: (it.chain, it.key.replace("M", "A")), "key: is damaged"),
    "another key": (other_key, "key: does not belong to the certificate"),
    "an encrypted key": (encrypted, "key: is encrypted with a passphrase"),
    "an order": (wrong_order, "chain: does not begin with the certificate of the key"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_cannot_be_used_is_refused_with_what_is_wrong_and_no_key_in_it_fault_47(
    stage: Stage, what: str
) -> None:
    good = issued(SHOP, now=CLOCK)
    make, told = BAD[what]

    with pytest.raises(InvalidSpec) as refused:
        await stage.certificates.create("shop", *make(good), by=ME)

    assert refused.value.text.startswith(told)
    assert "MIG" not in str(refused.value) + str(refused.value.hint)
    assert stage.certificates.page(limit=5, offset=0) == ([], 0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ends": -timedelta(hours=1)}, "chain: ended at 2025-11-25T11:00:00.000Z"),
        ({"begins": DAY}, "chain: is not valid before 2025-11-26T12:00:00.000Z"),
        ({"hosts": []}, "chain: names no host that it is for"),
        ({"hosts": ["a b", "-x.example"]}, "chain: names no host that it is for"),
        ({"key": ed25519.Ed25519PrivateKey.generate()}, "key: is of a kind that a gateway does not take"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "key: has 1024 bits"),
    ],
)
async def test_one_that_no_browser_or_gateway_would_take_is_refused_fault_47(
    stage: Stage, changes: dict[str, object], told: str
) -> None:
    made = issued(**{"hosts": SHOP, "now": CLOCK, **changes})  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec) as refused:
        await stage.certificates.create("shop", made.chain, made.key, by=ME)
    assert refused.value.text.startswith(told)


async def test_a_good_one_is_told_of_without_its_key(stage: Stage) -> None:
    it = issued(("Shop.Example.COM", "*.shop.example.com"), now=CLOCK, issuer="evil \x1b[31m")
    await stage.deployments.create(spec(ingress=(IngressRule(host="a.shop.example.com", port=80),)), by=ME)

    made = await stage.certificates.create("shop", it.key + it.chain, it.chain + it.key, by=ME)

    assert (made.hosts, made.shown_for, made.used_by) == (SHOP, SHOP, ("web",))
    assert (made.not_after, made.warning, made.readable) == ("2026-02-23T12:00:00.000Z", None, True)
    assert made == stage.certificates.get("SHOP")
    assert "PRIVATE" not in repr(made)


async def test_the_key_lies_sealed_and_never_in_audit_or_events_fault_45(stage: Stage) -> None:
    it = issued(SHOP, now=CLOCK)
    await stage.certificates.create("shop", it.chain, it.key, by=ME)
    new = issued(SHOP, now=CLOCK)
    await stage.certificates.put("shop", new.chain, new.key, by=ME)

    stage.store.close()
    for file in stage.store.path.parent.glob("fledx.db*"):
        assert it.key.splitlines()[1].encode() not in file.read_bytes()
        assert new.key.splitlines()[1].encode() not in file.read_bytes()


async def test_who_did_what_is_written_down(stage: Stage) -> None:
    it = issued(SHOP, now=CLOCK)
    await stage.certificates.create("shop", it.chain, it.key, by=ME)
    await stage.certificates.delete("shop", by=ME)
    lines, _ = await stage.audit.page(AuditFilter(resource_type="certificate"), limit=10, offset=0)
    assert [json.loads(line)["action"] for line in lines] == ["certificate.delete", "certificate.create"]
    assert [event.kind for event in stage.happened()] == ["certificate.created", "certificate.deleted"]


async def test_a_taken_name_is_a_conflict_and_an_update_replaces(stage: Stage) -> None:
    one, two = issued(SHOP, now=CLOCK), issued(["b.example"], now=CLOCK)
    await stage.certificates.create("shop", one.chain, one.key, by=ME)
    with pytest.raises(Conflict, match="there is a certificate shop already"):
        await stage.certificates.create("shop", two.chain, two.key, by=ME)

    changed, new = await stage.certificates.put("shop", two.chain, two.key, by=ME)
    same, _ = await stage.certificates.put("shop", two.chain, two.key, by=ME)

    assert (changed.hosts, changed.version, new) == (("b.example",), 2, False)
    assert same.version == 2
    with pytest.raises(NotFound, match="no certificate 'shpo'"):
        stage.certificates.get("shpo")


async def presented(stage: Stage, gate: str) -> dict[str, tuple[str, ...]]:
    found = stage.desired(gate).gateway
    assert found is not None
    return {each.name: each.hosts for each in found.certificates}


async def test_it_is_sent_to_gateways_alone_with_its_key_and_a_higher_revision(stage: Stage) -> None:
    gate, other = await stage.node("gate", gateway=GatewayFacts(http_port=80)), await stage.node("edge-1")
    before = stage.desired(gate).revision
    it = issued(SHOP, now=CLOCK)

    await stage.certificates.create("shop", it.chain, it.key, by=ME)

    state = stage.desired(gate)
    assert state.gateway is not None
    assert state.gateway.certificates == (GatewayCertificate(name="shop", hosts=SHOP, chain=it.chain, key=it.key),)
    assert state.revision > before
    assert stage.told[-1] == {gate}
    assert it.key not in repr(stage.desired(other)) + repr(state)
    await stage.certificates.delete("shop", by=ME)
    assert await presented(stage, gate) == {}


async def test_of_two_for_a_host_the_one_issued_last_is_presented_and_that_is_said(stage: Stage) -> None:
    gate = await stage.node("gate", gateway=GatewayFacts(http_port=80))
    old = issued(["a.example", "b.example"], now=CLOCK, begins=-9 * DAY)
    new = issued(["a.example"], now=CLOCK, begins=-DAY, ends=40 * DAY)
    await stage.certificates.create("new", new.chain, new.key, by=ME)
    await stage.certificates.create("old", old.chain, old.key, by=ME)

    assert await presented(stage, gate) == {"new": ("a.example",), "old": ("b.example",)}
    assert stage.certificates.get("old").warning == "a newer one is presented for a.example"

    stage.now += timedelta(days=41).total_seconds()
    await stage.certificates.look()
    assert await presented(stage, gate) == {"old": ("a.example", "b.example")}
    assert stage.certificates.get("new").warning == "not presented, as a newer one is for the same hosts"


async def test_its_end_is_told_thirty_days_before_and_when_it_is_there_once_each(stage: Stage) -> None:
    it = issued(SHOP, now=CLOCK)
    await stage.certificates.create("shop", it.chain, it.key, by=ME)
    await stage.certificates.look()
    assert stage.certificates.warnings() == []

    stage.now += timedelta(days=61).total_seconds()
    for _ in range(2):
        await stage.certificates.look()
    assert stage.certificates.warnings() == ["certificate shop: ends in 29 days"]

    stage.now += timedelta(days=30).total_seconds()
    for _ in range(2):
        await stage.certificates.look()
    assert stage.certificates.warnings() == ["certificate shop: ended at 2026-02-23T12:00:00.000Z"]
    kinds = [event.kind for event in stage.happened()]
    assert kinds == ["certificate.created", "certificate.ending", "certificate.ended"]

    new = issued(SHOP, now=stage.now)
    await stage.certificates.put("shop", new.chain, new.key, by=ME)
    assert stage.certificates.warnings() == []


async def test_one_whose_key_cannot_be_opened_says_so_and_is_mended_by_bringing_it_again(stage: Stage) -> None:
    gate = await stage.node("gate", gateway=GatewayFacts(http_port=80))
    it = issued(SHOP, now=CLOCK)
    await stage.certificates.create("shop", it.chain, it.key, by=ME)
    stage.seal = Seal(bytes([7] * 32))
    stage.certificates = Certificates(stage.store, stage.changes, stage.seal)

    assert await presented(stage, gate) == {}
    assert not stage.certificates.get("shop").readable
    assert "sealed with one that is lost" in stage.certificates.warnings()[0]
    again, _ = await stage.certificates.put("shop", it.chain, it.key, by=ME)
    assert (again.readable, again.version) == (True, 2)


async def test_the_first_end_of_those_presented_is_a_figure_and_none_where_there_are_none(stage: Stage) -> None:
    metrics = Metrics()
    endings = Endings(stage.certificates, metrics)
    for days in (90, 40):
        it = issued([f"{days}.example"], now=CLOCK, ends=days * DAY)
        await stage.certificates.create(f"c{days}", it.chain, it.key, by=ME)
    await endings.look()
    assert 'expiry_timestamp_seconds{use="gateway"} 1.767528e+09' in shown(metrics)

    for days in (90, 40):
        await stage.certificates.delete(f"c{days}", by=ME)
    await endings.look()
    assert 'use="gateway"' not in shown(metrics)


def shown(metrics: Metrics) -> str:
    return metrics.exposition().decode()


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=st.sampled_from("abcdef"),
        hosts=st.lists(st.sampled_from(["x", "y", "*.x"]), min_size=1, max_size=3).map(tuple),
        not_before=st.integers(0, 9).map(float),
        not_after=st.integers(0, 20).map(float),
    ),
    max_size=5,
    unique_by=lambda each: each.name,
)


@given(CANDIDATES, st.integers(0, 20))
def test_every_host_is_presented_by_one_certificate_and_by_a_valid_one_if_there_is_any(
    candidates: list[Candidate], now: int
) -> None:
    found = chosen(candidates, now)
    by_name = {each.name: each for each in candidates}
    hosts = {host for each in candidates for host in each.hosts}
    assert sorted(host for each in found.values() for host in each) == sorted(hosts)
    for name, presented in found.items():
        for host in presented:
            rivals = [each for each in candidates if host in each.hosts]
            valid = [each for each in rivals if each.not_before <= now < each.not_after]
            best = max(each.not_before for each in valid or rivals)
            assert by_name[name].not_before == best
            assert not valid or by_name[name] in valid


def test_a_star_stands_for_one_label() -> None:
    assert covers("*.example.com", "a.example.com")
    assert covers("*.example.com", "*.example.com")
    assert not covers("*.example.com", "a.b.example.com")
    assert not covers("*.example.com", "example.com")
