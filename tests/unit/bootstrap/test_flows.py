"""Whole commands against a host in memory and a control plane that is a function."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from fledx.bootstrap import run as door
from fledx.bootstrap.act import Progress
from fledx.bootstrap.agent import AgentWanted, install_agent
from fledx.bootstrap.control_plane import Access, ControlPlaneWanted, install_control_plane
from fledx.bootstrap.fleet import on_each
from fledx.bootstrap.host import Done, Order
from fledx.bootstrap.news import News
from fledx.bootstrap.reach import DIAL, Ask
from fledx.bootstrap.upkeep import describe, uninstall, upgrade
from fledx.bootstrap.visit import Mode, Places, Visit
from fledx.client.api import ControlPlane
from fledx.client.asking import Credentials
from fledx.client.http1 import Request
from fledx.errors import Conflict, InvalidSpec, NotFound, Unavailable
from fledx.models.token import JoinString
from tests.fakes.host import AUTHORITY, NODE_ID, TOKEN, FakeHost, bare_host
from tests.fakes.transport import Answer, FakeTransport, error_answer, json_answer
from tests.unit.bootstrap.wishes import package

JOIN = str(JoinString(host="cp.example.com", port=7443, token="hush", pins=("A" * 43,)))


def visit(host: FakeHost, heard: list[News] | None = None, **mode: Any) -> Visit:
    told = [] if heard is None else heard
    usual: dict[str, Any] = {"wait_secs": 0.0}
    return Visit(host=host, places=Places(), mode=Mode(**{**usual, **mode}), progress=Progress(host.name, told.append))


class CloudOfOne:
    """A control plane with one node or none; `status` is the node's, `taken` tells that its name is known already."""

    def __init__(self, *, status: str = "ready", taken: bool = False) -> None:
        authority = trustme.CA()
        self.pem = authority.cert_pem.bytes().decode()
        self.status = status
        self.taken = taken
        self.looks = 0
        self.transport = FakeTransport(self._answer)
        self.api = ControlPlane(self.transport, Credentials(operator_token="t"), peer="https://cp.example.com:8080")

    def _answer(self, request: Request) -> Answer:
        self.looks += 1
        node = {"node_id": NODE_ID, "name": "edge-1", "status": self.status, "agent_version": "0.1.0"}
        node["last_seen"] = f"look {self.looks}"
        if request.target == "/api/v1/authority":
            return json_answer({"pem": self.pem, "fingerprint": "x"})
        if request.target == "/api/v1/nodes/join-tokens":
            return json_answer({"join": JOIN, "expires_at": "later", "uses": 1}, 201)
        if request.target == f"/api/v1/nodes/{NODE_ID}" or (self.taken and request.target == "/api/v1/nodes/edge-1"):
            return json_answer(node)
        return error_answer(404, "no such node", "not_found")

    def made_tokens(self) -> int:
        return self.transport.asked().count("POST /api/v1/nodes/join-tokens")


def test_a_host_becomes_a_node_with_a_token_that_is_made_for_it_alone() -> None:
    host, cloud = FakeHost(), CloudOfOne()
    facts = install_agent(visit(host), AgentWanted(labels={"zone": "eu"}), package(), cloud.api)
    assert {"node_id": NODE_ID, "name": "edge-1", "version": "0.1.0", "build": "00000000000000aa"} == facts
    (made,) = [request for request in cloud.transport.requests if request.target.endswith("join-tokens")]
    assert b'{"ttl_seconds":900,"uses":1}' == made.body
    assert "zone=eu" == host.facts.settings("agent")["FLEDX_AGENT_LABELS"]


def test_a_second_run_makes_no_token_and_touches_nothing() -> None:
    host, cloud = FakeHost(), CloudOfOne()
    install_agent(visit(host), AgentWanted(), package(), cloud.api)
    host.reconnect()
    heard: list[News] = []
    install_agent(visit(host, heard), AgentWanted(), package(), cloud.api)
    assert 1 == cloud.made_tokens()
    assert [] == [order for order in host.ran if not isinstance(order, Ask)]
    assert "nothing to do" in [news.text for news in heard]


def test_a_dry_run_changes_neither_the_host_nor_the_control_plane() -> None:
    host, cloud, heard = FakeHost(), CloudOfOne(), list[News]()
    before = host.facts
    install_agent(visit(host, heard, dry_run=True), AgentWanted(), package(), cloud.api)
    assert (before, 0) == (host.facts, cloud.made_tokens())
    assert 15 == len([news for news in heard if news.kind == "planned"])


def test_a_node_that_does_not_become_ready_is_said_to_be_late_with_the_reason() -> None:
    cloud = CloudOfOne(status="registering")
    with pytest.raises(Unavailable, match="is not ready after 0 s: it is registering") as told:
        install_agent(visit(FakeHost()), AgentWanted(), package(), cloud.api)
    assert "not_reached" == told.value.code


def test_a_host_that_joins_by_itself_needs_no_operator() -> None:
    host = FakeHost()
    facts = install_agent(visit(host), AgentWanted(join=JOIN), package(), None)
    assert (NODE_ID, "edge-1") == (facts["node_id"], facts["name"])
    with pytest.raises(InvalidSpec, match="not a whole join string"):
        install_agent(visit(FakeHost()), AgentWanted(join="fledx-join.x"), package(), None)


def test_a_name_that_a_connected_node_has_is_refused_before_harm() -> None:
    host = FakeHost()
    with pytest.raises(Conflict, match="another node is called edge-1 already") as told:
        install_agent(visit(host), AgentWanted(), package(), CloudOfOne(taken=True).api)
    assert "another --name" in (told.value.hint or "")
    assert host.facts.files == {}


def test_a_node_that_is_to_get_another_name_is_told_that_it_keeps_its_own() -> None:
    host, cloud = FakeHost(), CloudOfOne()
    install_agent(visit(host), AgentWanted(name="edge-1"), package(), cloud.api)
    host.reconnect()
    with pytest.raises(Conflict, match="it is a node already, called edge-1, and a node keeps its name") as told:
        install_agent(visit(host), AgentWanted(name="edge-9"), package(), cloud.api)
    assert "uninstall agent --purge" in (told.value.hint or "")
    assert "edge-1" == host.facts.settings("agent")["FLEDX_AGENT_NAME"]
    install_agent(visit(host), AgentWanted(name="edge-1"), package(), cloud.api)


class Walled(FakeHost):
    """A host whose trial of the network says something else than ok."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self._answer = said

    def run(self, order: Order) -> Done:
        if isinstance(order, Ask) and order.program == DIAL:
            return Done(code=0, out=self._answer)
        return super().run(order)


@pytest.mark.parametrize(
    ("said", "text", "mend"),
    [
        ("name Name or service not known\n", "cannot resolve the control plane's name cp.example.com", "--cp-hostname"),
        ("connect no answer\n", "cannot reach the control plane's tunnel at cp.example.com:7443", "open port 7443"),
        ("certificate self-signed\n", "is not our control plane: self-signed", "something else answers at that name"),
        ("other eof\n", "cannot talk to the control plane's tunnel", "nc -v cp.example.com 7443"),
    ],
)
def test_a_node_that_cannot_reach_the_tunnel_is_told_before_harm(said: str, text: str, mend: str) -> None:
    host = Walled(said)
    with pytest.raises(Conflict) as told:
        install_agent(visit(host), AgentWanted(), package(), CloudOfOne().api)
    assert text in told.value.text
    assert mend in (told.value.hint or "")
    assert host.facts.files == {}
    facts = install_agent(visit(Walled(said), wait=False), AgentWanted(), package(), CloudOfOne().api)
    assert NODE_ID == facts["node_id"]


class Saved:
    def __init__(self) -> None:
        self.access: list[Access] = []

    def __call__(self, access: Access) -> str:
        self.access.append(access)
        return "/nowhere/ca.pem"


def test_a_control_plane_gives_its_operator_token_and_authority_to_the_profile() -> None:
    host, save = FakeHost(), Saved()
    facts = install_control_plane(
        visit(host, wait=False), ControlPlaneWanted(hostname="localhost", server_port=1, tunnel_port=2), package(), save
    )
    assert "https://localhost:1" == facts["url"]
    (access,) = save.access
    assert (TOKEN, AUTHORITY, facts["url"]) == (access.token, access.authority, access.url)
    assert TOKEN not in repr(access)


def test_an_operators_own_token_is_taken_from_the_settings() -> None:
    host, save = FakeHost(), Saved()
    asked = ControlPlaneWanted(hostname="localhost", server_port=1, tunnel_port=2)
    install_control_plane(visit(host, wait=False), asked, package(), save)
    path = "/etc/fledx/fledx-cp.env"
    entry = host.facts.files[path]
    text = (entry.content or "") + "FLEDX_CP_OPERATOR_TOKENS=mine,other\n"
    host.change(files={path: type(entry)(owner=entry.owner, mode=entry.mode, content=text)})
    install_control_plane(visit(host, wait=False), asked, package(), save)
    assert "mine" == save.access[-1].token


@pytest.mark.parametrize("name", ["https://cp", "cp:8080", "a b", "", "-x", "cp/", "x" * 300])
def test_a_cp_hostname_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="--cp-hostname"):
        ControlPlaneWanted(hostname=name)


def test_one_port_for_two_uses_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="--tunnel-port"):
        ControlPlaneWanted(hostname="cp", server_port=8080, tunnel_port=8080)


def test_an_unresolvable_cp_hostname_ends_before_harm() -> None:
    host = FakeHost()
    with pytest.raises(Conflict, match=r"the name nowhere.invalid is not known here") as told:
        install_control_plane(visit(host), ControlPlaneWanted(hostname="nowhere.invalid"), package(), Saved())
    assert "by which operators and nodes reach this host" in (told.value.hint or "")
    assert host.facts.files == {}


def test_upgrade_needs_something_to_upgrade_and_back_something_to_go_back_to() -> None:
    with pytest.raises(NotFound, match="no control plane or agent is installed"):
        upgrade(visit(FakeHost()), package(), None)
    host = FakeHost()
    install_agent(visit(host), AgentWanted(), package(), CloudOfOne().api)
    with pytest.raises(Conflict, match="no earlier version"):
        upgrade(visit(host), None, None)


def test_back_is_forth_again() -> None:
    host, cloud = FakeHost(), CloudOfOne()
    install_agent(visit(host), AgentWanted(), package("0.1.0", "00000000000000aa"), cloud.api)
    upgrade(visit(host), package("0.2.0", "00000000000000bb"), None)
    assert "0.1.0" == upgrade(visit(host), None, None)["version"]
    assert "0.2.0" == upgrade(visit(host), None, None)["version"]


def test_status_tells_what_is_there_and_holds_no_secret() -> None:
    host = FakeHost()
    install_agent(visit(host), AgentWanted(), package(), CloudOfOne().api)
    told = describe(visit(host), ("cp", "agent"))
    assert ("0.1.0 (build 00000000000000aa)", None, ["agent"]) == (
        told["version"],
        told["previous"],
        list(told["roles"]),
    )
    assert (NODE_ID, "active (running)") == (told["roles"]["agent"]["node_id"], told["roles"]["agent"]["state"])
    uninstall(visit(host), ("agent",), purge=False)
    assert ["/var/lib/fledx/agent"] == describe(visit(host), ("cp", "agent"))["kept"]


def test_uninstall_takes_the_containers_of_this_node_along() -> None:
    host = FakeHost()
    install_agent(visit(host), AgentWanted(), package(), CloudOfOne().api)
    assert NODE_ID == uninstall(visit(host), ("agent",), purge=True)["node_id"]
    assert [f"containers of {NODE_ID} removed"] == host.said
    assert bare_host().files == host.facts.files


def test_several_hosts_are_visited_at_once_and_one_that_fails_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each host waits for the other to have begun: one after the other they would wait for ever."""
    both = threading.Barrier(2, timeout=60)

    def work(visit: Visit, name: str | None) -> dict[str, Any]:
        both.wait()
        if name == "n1":
            raise Unavailable("n1 is gone", hint="look after it")
        return {"fine": True}

    heard: list[News] = []
    hosts = door.Hosts(targets=("ops@n1", "n2"))
    outcomes = on_each(hosts, work, Mode(), heard.append, lambda target, hosts, progress: FakeHost())
    assert [("n1", "n1 is gone", False), ("n2", None, True)] == [(o.host, o.error, o.well) for o in outcomes]
    assert {"fine": True}.items() <= outcomes[1].encoded().items()
    assert ["n1", "n2"] == sorted(news.host for news in heard if news.kind == "done")


def test_a_host_named_twice_and_two_hosts_for_one_name_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="twice"):
        on_each(door.Hosts(targets=("n1", "n1")), lambda visit, name: {}, Mode(), lambda news: None)
    with pytest.raises(InvalidSpec, match="twice"):
        on_each(door.Hosts(targets=("ops@n1", "n1")), lambda visit, name: {}, Mode(), lambda news: None)
    two = door.Hosts(targets=("n1", "n2"))
    with pytest.raises(InvalidSpec, match="names one node"):
        door.bootstrap_agents(
            two, AgentWanted(name="x"), version=None, mode=Mode(), connect=None, tell=lambda news: None
        )
    with pytest.raises(InvalidSpec, match="one control plane"):
        door.bootstrap_control_plane(
            two,
            ControlPlaneWanted(hostname="cp"),
            version=None,
            mode=Mode(),
            save=Saved(),
            tell=lambda news: None,
        )


def test_a_checkout_cannot_ship_itself_but_a_file_can_be_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="this is a checkout") as told:
        door.chosen_package("latest", None)
    assert "python3 build.py" in (told.value.hint or "")
    with pytest.raises(InvalidSpec, match=r"no.pyz cannot be read"):
        door.chosen_package(str(tmp_path / "no.pyz"), None)
    (tmp_path / "x.pyz").write_bytes(b"not a zip")
    with pytest.raises(InvalidSpec, match=r"is not a fledx\.pyz"):
        door.chosen_package(str(tmp_path / "x.pyz"), None)
