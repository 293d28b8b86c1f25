"""What a pull tells on its way, and what stood in the way of one that failed (fault 30)."""

from __future__ import annotations

import pytest

from fledx.agent.runtime.pulling import Progress, pull_failure, wrong_platform

DIGEST = "sha256:" + "40300401429" * 5 + "404404404"
ADDRESS = "127.0.0.1:40401"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("manifest for nginx:nope not found: manifest unknown: manifest unknown", "not_found"),
        ("pull access denied for x, repository does not exist or may require 'docker login': denied: ...", "denied"),
        ("Head https://r/v2/x/manifests/1: unauthorized: authentication required", "denied"),
        ('Get "http://r:5000/v2/": no basic auth credentials', "denied"),
        ("error parsing HTTP 403 response body: invalid character", "denied"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "platform"),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "no_space"),
        ("toomanyrequests: You have reached your pull rate limit.", "rate_limited"),
        ("error parsing HTTP 429 response body: unexpected end of JSON input", "rate_limited"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "unreachable"),
        ("Get https://r/v2/: net/http: TLS handshake timeout", "unreachable"),
        ("received unexpected HTTP status: 503 Service Unavailable", "unreachable"),
        (f'Get "http://{ADDRESS}/v2/": dial tcp {ADDRESS}: connect: connection refused', "unreachable"),
        ("unexpected EOF", "cut"),
        (f"read tcp 127.0.0.1:4290->{ADDRESS}: read: connection reset by peer", "cut"),
        (f'Get "http://{ADDRESS}/v2/shop/blobs/{DIGEST}": EOF', "cut"),
        ("something entirely new", "other"),
    ],
)
def test_failed_pulls_are_told_apart(said: str, kind: str) -> None:
    failure = pull_failure("shop:1", said)

    assert kind == failure.kind
    assert failure.text.startswith("image shop:1: ")
    assert said.split(":")[0] in failure.text


def test_a_refusal_names_whose_login_was_refused_and_where_to_give_another() -> None:
    failure = pull_failure("registry.example.com:5000/shop:1", "unauthorized: authentication required", user="puller")

    assert "denies access to puller" in failure.text
    assert "`fledx registries login registry.example.com:5000`" in (failure.hint or "")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("toomanyrequests: retry-after: 271.896µs, allowed: 44000/minute", 0.000271896),
        ("toomanyrequests: Retry-After: 90", 90.0),
        ("toomanyrequests: retry after 2m, please", 120.0),
        ("toomanyrequests: retry-after: 99999h", 6 * 3600.0),
        ("toomanyrequests: come back later", None),
    ],
)
def test_a_registry_says_when_it_wants_to_be_asked_again(said: str, seconds: float | None) -> None:
    assert pull_failure("shop:1", said).retry_after == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("platforms", "own"),
    [
        (["linux/arm64", "linux/s390x", "unknown/unknown"], "linux/amd64"),
        (["linux/arm64"], "linux/amd64"),
        (["linux/arm64"], "linux/arm"),
        (["windows/amd64"], "linux/amd64"),
    ],
)
def test_an_image_for_other_machines_is_known_before_it_is_pulled(platforms: list[str], own: str) -> None:
    found = wrong_platform("shop:1", platforms, own)

    assert found is not None
    assert (found.kind, f"and this node is {own}" in found.text) == ("platform", True)
    assert "unknown" not in found.text


@pytest.mark.parametrize(
    ("platforms", "own"),
    [
        (["linux/amd64", "linux/arm64"], "linux/amd64"),
        (["linux/arm"], "linux/arm64"),
        (["/"], "linux/amd64"),
        (["unknown/unknown"], "linux/amd64"),
        ([], "linux/amd64"),
    ],
)
def test_an_image_that_may_run_here_is_pulled(platforms: list[str], own: str) -> None:
    assert wrong_platform("shop:1", platforms, own) is None


def downloading(layer: str, current: int, total: int) -> dict[str, object]:
    detail = {"current": current * 1_000_000, "total": total * 1_000_000}
    return {"id": layer, "status": "Downloading", "progressDetail": detail}


def test_the_progress_of_a_pull_is_the_sum_of_its_layers() -> None:
    progress = Progress("shop:1")
    assert str(progress) == "pulling shop:1"
    for layer in "abcd":
        progress.note({"id": layer, "status": "Pulling fs layer"})
    progress.note({"id": "d", "status": "Already exists"})
    progress.note(downloading("a", 10, 30))
    progress.note(downloading("b", 5, 10))
    assert (str(progress), progress.missing) == ("pulling shop:1: 15 MB so far, 0 of 3 layers", 25_000_000)

    progress.note(downloading("c", 0, 20))
    assert (str(progress), progress.missing) == ("pulling shop:1: 25 % of 60 MB, 0 of 3 layers", 45_000_000)

    for layer in "abc":
        progress.note({"id": layer, "status": "Download complete"})
    progress.note({"id": "a", "status": "Pull complete"})
    progress.note({"id": "b", "status": "Extracting", "progressDetail": {"current": 1, "total": 2}})
    assert (str(progress), progress.missing) == ("unpacking shop:1: 60 MB, 1 of 3 layers", 0)


def test_a_layer_that_broke_off_counts_on_from_there() -> None:
    progress = Progress("shop:1")
    progress.note(downloading("a", 30, 40))
    progress.note(downloading("a", 5, 10))

    assert (str(progress), progress.missing) == ("pulling shop:1: 87 % of 40 MB, 0 of 1 layers", 5_000_000)
