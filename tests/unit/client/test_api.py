"""What each call asks for, and what a refusal becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.diagnosis import unreachable
from fledx.client.http1 import Address, Request
from fledx.errors import Conflict, Denied, FledxError, InvalidSpec, LimitExceeded, NotFound, Unavailable
from tests.fakes.transport import Answer, FakeTransport, error_answer, events_answer, json_answer, lines_answer


def control_plane(transport: FakeTransport, **credentials: Any) -> ControlPlane:
    return ControlPlane(transport, Credentials(operator_token="t0ken", **credentials), peer="http://cp")


def always(answer: Answer) -> FakeTransport:
    return FakeTransport(lambda request: answer)


def fault_of(answer: Answer) -> FledxError:
    with pytest.raises(FledxError) as fault:
        control_plane(always(answer)).deployment("web")
    return fault.value


def test_the_token_goes_by_the_header_that_was_set() -> None:
    transport = always(json_answer({}))
    control_plane(transport, header="X-Operator").status()

    assert transport.requests[0].headers["x-operator"] == "Bearer t0ken"
    assert "authorization" not in transport.requests[0].headers


def test_health_and_authority_are_asked_without_a_token() -> None:
    transport = always(json_answer({}))
    control_plane(transport).health()
    control_plane(transport).authority()

    assert transport.asked() == ["GET /health", "GET /api/v1/authority"]
    assert all("authorization" not in request.headers for request in transport.requests)


def test_a_node_is_registered_with_the_registration_token_where_there_is_one() -> None:
    transport = always(json_answer({"node_id": "n"}, 201))
    control_plane(transport, registration_token="reg").register_node({"name": "edge"})
    control_plane(transport).register_node({"name": "edge"})

    assert [request.headers["authorization"] for request in transport.requests] == ["Bearer reg", "Bearer t0ken"]
    assert json.loads(transport.requests[0].body or b"") == {"name": "edge"}


def test_a_list_is_read_page_by_page() -> None:
    def answer(request: Request) -> Answer:
        offset = int(request.target.partition("offset=")[2].partition("&")[0])
        items = [{"n": number} for number in range(offset, min(offset + 500, 1100))]
        return json_answer({"limit": 500, "offset": offset, "total": 1100, "items": items})

    transport = FakeTransport(answer)
    page = control_plane(transport).nodes({"status": "ready"})

    assert ([{"n": number} for number in range(1100)], 1100) == (page.items, page.total)
    assert transport.asked()[-1] == "GET /api/v1/nodes?limit=500&offset=1000&status=ready"
    assert len(transport.requests) == 3


def test_a_page_that_was_asked_for_is_one_request() -> None:
    transport = always(json_answer({"limit": 2, "offset": 4, "total": 9, "items": [{}, {}]}))
    page = control_plane(transport).deployments({}, limit=2, offset=4)

    assert transport.asked() == ["GET /api/v1/deployments?limit=2&offset=4"]
    assert page.encoded() == {"limit": 2, "offset": 4, "total": 9, "items": [{}, {}]}


def failing(*answers: Answer | Unavailable) -> FakeTransport:
    left = list(answers)

    def answer(request: Request) -> Answer:
        found = left.pop(0)
        if isinstance(found, Unavailable):
            raise found
        return found

    return FakeTransport(answer)


def away() -> Unavailable:
    return unreachable(Address.parse("http://cp"), ConnectionRefusedError(111, "Connection refused"))


def test_a_create_is_asked_again_under_its_key_when_the_connection_breaks() -> None:
    transport = failing(Unavailable("broke"), away(), json_answer({"name": "web"}, 201))
    paused: list[float] = []

    assert {"name": "web"} == control_plane(transport).create_deployment({"image": "x"}, pause=paused.append)
    assert 1 == len({request.headers["idempotency-key"] for request in transport.requests})
    assert [0.2, 0.5] == paused


def test_a_create_that_reached_nobody_is_not_asked_again() -> None:
    transport = failing(away())

    with pytest.raises(Unavailable, match="no control plane at http://cp: connection refused"):
        control_plane(transport).create_deployment({"image": "x"})


def test_a_create_that_was_refused_is_not_asked_again() -> None:
    transport = always(error_answer(503, "overloaded"))

    with pytest.raises(Unavailable, match="overloaded"):
        control_plane(transport).create_deployment({"image": "x"})
    assert len(transport.requests) == 1


def test_a_change_may_name_the_generation_it_was_made_for() -> None:
    transport = always(json_answer({}))
    control_plane(transport).patch_deployment("we/b", {"replicas": 2}, generation=7)

    assert transport.asked() == ["PATCH /api/v1/deployments/we%2Fb"]
    assert transport.requests[0].headers["if-match"] == '"7"'


def test_a_watch_gives_the_deployment_at_each_change() -> None:
    transport = always(events_answer({"name": "web", "status": "pending"}, ("gone", None)))
    found = list(control_plane(transport).watch_deployment("web"))

    assert [event.kind for event in found] == ["message", "gone"]
    assert transport.requests[0].headers["accept"] == "text/event-stream"


def test_logs_of_one_deployment_and_of_several_have_their_own_paths() -> None:
    transport = always(lines_answer({"line": "a"}))
    api = control_plane(transport)

    assert list(api.logs(["web"], {"tail": 5, "since": None})) == [{"line": "a"}]
    api.logs(["web", "api"], {"follow": True})
    api.logs([], {})
    assert transport.asked() == [
        "GET /api/v1/deployments/web/logs?tail=5",
        "GET /api/v1/logs?deployment=web&deployment=api&follow=true",
        "GET /api/v1/logs",
    ]


def test_events_are_followed_from_where_they_were_left() -> None:
    transport = always(events_answer({"id": 8, "kind": "node.ready"}))
    stream = control_plane(transport).follow_events({"node": "edge"}, after="7")

    assert [event.id for event in stream] == ["8"]
    assert transport.asked() == ["GET /api/v1/events?node=edge&follow=true"]
    assert transport.requests[0].headers["last-event-id"] == "7"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidSpec),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (409, Conflict),
        (412, Conflict),
        (413, LimitExceeded),
        (429, LimitExceeded),
        (500, Unavailable),
        (503, Unavailable),
        (507, LimitExceeded),
        (418, FledxError),
    ],
)
def test_a_status_becomes_an_error_of_the_tree(status: int, kind: type[FledxError]) -> None:
    fault = fault_of(error_answer(status, "what went wrong", hint="try this"))

    assert (kind, "what went wrong", "try this", "r-1") == (type(fault), fault.text, fault.hint, fault.request_id)


def test_401_and_403_differ_in_whether_the_caller_is_known() -> None:
    denied = [fault_of(error_answer(status, "no")) for status in (401, 403)]

    assert [fault.known for fault in denied if isinstance(fault, Denied)] == [False, True]


def test_all_problems_of_a_request_arrive_together() -> None:
    problems = [{"path": "name", "text": "is empty"}, {"path": "ports[0]", "text": "is odd"}]
    fault = fault_of(error_answer(400, "two faults", problems=problems))

    assert isinstance(fault, InvalidSpec)
    assert fault.problems == (("name", "is empty"), ("ports[0]", "is odd"))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404, headers={"content-type": "text/html"}, pieces=[b"<h1>Not here</h1>"]),
        Answer(status=302, headers={"location": "/login"}),
        Answer(status=200, headers={"content-type": "text/html"}, pieces=[b"<h1>Welcome</h1>"]),
        json_answer(["a list"], 404),
    ],
)
def test_another_program_under_the_url_is_told_as_such(answer: Answer) -> None:
    fault = fault_of(answer)

    assert isinstance(fault, Unavailable)
    assert fault.text.startswith("http://cp answers, but not as a fledx control plane")


@pytest.mark.parametrize("piece", [b"{", b"[1]"])
def test_an_answer_that_is_no_json_object_is_an_error(piece: bytes) -> None:
    answer = Answer(headers={"content-type": "application/json"}, pieces=[piece])

    assert "http://cp sent an answer that is not" in fault_of(answer).text


def test_tokens_do_not_show_where_credentials_are_printed() -> None:
    assert "t0ken" not in repr(Credentials(operator_token="t0ken", registration_token="t0ken"))
