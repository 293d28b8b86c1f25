"""Every call of the control plane's API; what is read comes as plain dicts in the shapes of `models`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fledx import __version__
from fledx.client.asking import JSON, PAGE, Asking, Credentials, Json, Page, encoded
from fledx.client.diagnosis import UNREACHABLE
from fledx.client.http1 import Request, Upload, quoted, target
from fledx.client.streams import JsonLines, ServerEvent, Stream
from fledx.client.transport import Response, Transport
from fledx.errors import Unavailable

ROOT = "/api/v1"
PAUSES = (0.2, 0.5, 1.0, 2.0, 2.0)


class ControlPlane:
    """
    One control plane, under the name by which it is told of (`peer`, its URL).

    A `ref` is an id, a name or an id's beginning. `token_hint` is said when the token was not known. Refusals are
    raised as the errors of the tree; silence and broken connections as Unavailable.
    """

    def __init__(
        self, transport: Transport, credentials: Credentials, *, peer: str, token_hint: str | None = None
    ) -> None:
        self._ask = Asking(transport, credentials, peer=peer, token_hint=token_hint)
        self.peer = peer

    def close(self) -> None:
        """Let go of the connection."""
        self._ask.close()

    def health(self) -> Json:
        """`GET /health`, which needs no token."""
        return self._ask.read(self._ask.sent_as("GET", "/health", own={}))

    def authority(self) -> Json:
        """`{pem, fingerprint}` of the authority that signs this control plane's certificates."""
        return self._ask.read(self._ask.sent_as("GET", f"{ROOT}/authority", own={}))

    def artifact(self) -> bytes:
        """The `fledx.pyz` that the control plane runs, for hosts that have none yet."""
        return self._ask.sent_as("GET", "/artifact/fledx.pyz", own={}, extra={"accept": "*/*"}).read()

    def status(self) -> Json:
        """`{summary: {nodes, deployments}, control_plane}`, counted over everything."""
        return self._ask.object("GET", f"{ROOT}/status")

    def watch(self) -> Stream[ServerEvent]:
        """Everything as it changes: events `node`, `deployment`, `whole` and `gone`, for ever."""
        return self._ask.events(f"{ROOT}/watch", {})

    def deployments(self, query: Mapping[str, Any], *, limit: int | None = None, offset: int = 0) -> Page:
        """Deployments that match; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/deployments", query, limit, offset)

    def deployment(self, ref: str) -> Json:
        """One deployment with its instances and what is pending."""
        return self._ask.object("GET", _deployment(ref))

    def create_deployment(
        self, body: Json, *, pause: Callable[[float], None] = time.sleep, configs: Iterable[str] = ()
    ) -> Json:
        """
        A new deployment; done once, however often a breaking network makes us ask.

        Where the connection breaks after the request was sent, it is asked again under the same key for some seconds,
        in which a control plane can come back. The reply is the deployment as it was created.
        """
        headers = {**self._ask.credentials.operator(), **JSON, "idempotency-key": os.urandom(16).hex()}
        path = target(f"{ROOT}/deployments", [("config", ref) for ref in configs])
        request = Request(method="POST", target=path, headers=headers, body=encoded(body))
        for number, seconds in enumerate(PAUSES):
            try:
                return self._ask.read(self._ask.sent(request))
            except Unavailable as fault:
                if fault.request_id is not None or (number == 0 and fault.code == UNREACHABLE):
                    raise
            pause(seconds)
        return self._ask.read(self._ask.sent(request))

    def check_deployment(self, body: Json, *, configs: Iterable[str] = ()) -> Json:
        """What creating it would give, without creating it."""
        query = [("dry_run", True), *(("config", ref) for ref in configs)]
        return self._ask.object("POST", target(f"{ROOT}/deployments", query), body=body)

    def patch_deployment(self, ref: str, changes: Json, *, generation: int | None = None) -> Json:
        """Change the fields named; `generation` refuses the change if the deployment has moved on since."""
        return self._ask.object("PATCH", _deployment(ref), body=changes, extra=_matching(generation))

    def put_deployment(self, ref: str, spec: Json, *, generation: int | None = None) -> Json:
        """Replace the whole spec: what it does not name is as if never asked for; `generation` as for a patch."""
        return self._ask.object("PUT", _deployment(ref), body=spec, extra=_matching(generation))

    def revisions(self, ref: str) -> Page:
        """A deployment's history, newest first."""
        return self._ask.page(f"{_deployment(ref)}/revisions", {}, None, 0)

    def rollback_deployment(self, ref: str, *, to: int | None = None) -> Json:
        """Back to an earlier revision, the last good one unless `to` names another."""
        return self._ask.object("POST", f"{_deployment(ref)}/rollback", body={"to": to})

    def restart_deployment(self, ref: str) -> Json:
        """New containers of the same template, step by step."""
        return self._ask.object("POST", f"{_deployment(ref)}/restart")

    def delete_deployment(self, ref: str, *, generation: int | None = None, volumes: bool = False) -> None:
        """Remove it; its containers follow, and with `volumes` its data; `generation` as for a patch."""
        path = target(_deployment(ref), [("volumes", volumes or None)])
        self._ask.sent_as("DELETE", path, extra=_matching(generation)).read()

    def volumes(self, query: Mapping[str, Any], *, limit: int | None = None, offset: int = 0) -> Page:
        """Where the data of replicas lies; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/volumes", query, limit, offset)

    def backup_volume(self, ref: str, volume: str, query: Mapping[str, Any]) -> Response:
        """The content of a volume, as `models.archive` has it; to be read and closed."""
        return self._ask.sent_as(
            "POST", target(f"{_volume(ref, volume)}/backup", query.items()), extra={"accept": "*/*"}
        )

    def restore_volume(self, ref: str, volume: str, query: Mapping[str, Any], upload: Upload) -> Json:
        """Make a backup the content of a volume; the volume then."""
        headers = {
            **self._ask.credentials.operator(),
            "accept": "application/json",
            "content-type": "application/x-tar",
        }
        path = target(f"{_volume(ref, volume)}/restore", query.items())
        return self._ask.read(self._ask.sent(Request(method="POST", target=path, headers=headers, upload=upload)))

    def watch_deployment(self, ref: str) -> Stream[ServerEvent]:
        """The deployment at once and at each change; an event `gone` when it is deleted."""
        return self._ask.events(f"{_deployment(ref)}/watch", {})

    def logs(self, refs: Iterable[str], query: Mapping[str, Any]) -> Stream[Json]:
        """Log lines of the deployments named, of all if none is; an object with `notice` is a word about the stream."""
        named = list(refs)
        if len(named) == 1:
            path = target(f"{_deployment(named[0])}/logs", query.items())
        else:
            path = target(f"{ROOT}/logs", [*(("deployment", ref) for ref in named), *query.items()])
        response = self._ask.sent_as("GET", path, extra={"accept": "application/x-ndjson"})
        return Stream(self._ask.of_kind(response, "application/x-ndjson"), JsonLines().feed)

    def events(self, query: Mapping[str, Any]) -> list[Json]:
        """What happened, newest last."""
        return list(self._ask.object("GET", target(f"{ROOT}/events", query.items()))["items"])

    def every_event(self, query: Mapping[str, Any]) -> list[Json]:
        """All that match, from `after` on if the query has it, newest last; in pages, by their numbers."""
        found: list[Json] = []
        asked = {**query, "after": query.get("after") or 0, "limit": PAGE}
        while True:
            page = self.events(asked)
            found += page
            if len(page) < PAGE:
                return found
            asked = {**asked, "after": page[-1]["id"], "since": None}  # "10m ago" has moved by the second page

    def follow_events(self, query: Mapping[str, Any], *, after: str | None = None) -> Stream[ServerEvent]:
        """What happens from now on, or after the event `after`."""
        return self._ask.events(target(f"{ROOT}/events", [*query.items(), ("follow", True)]), _resuming(after))

    def nodes(self, query: Mapping[str, Any], *, limit: int | None = None, offset: int = 0) -> Page:
        """Nodes that match; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/nodes", query, limit, offset)

    def node(self, ref: str) -> Json:
        """One node with its instances."""
        return self._ask.object("GET", _node(ref))

    def cordon(self, ref: str, *, reason: str | None = None) -> Json:
        """Keep new replicas away from a node."""
        return self._ask.object("POST", f"{_node(ref)}/cordon", body={"reason": reason})

    def uncordon(self, ref: str) -> Json:
        """Let a node take replicas again."""
        return self._ask.object("POST", f"{_node(ref)}/uncordon")

    def drain(self, ref: str, body: Json) -> Json:
        """Empty a node; `body` has reason, deadline_seconds and force."""
        return self._ask.object("POST", f"{_node(ref)}/drain", body=body)

    def label_node(self, ref: str, labels: Mapping[str, str | None]) -> Json:
        """Lay labels over a node's own; None takes one away."""
        return self._ask.object("PATCH", f"{_node(ref)}/labels", body={"labels": dict(labels)})

    def rotate_node_token(self, ref: str) -> Json:
        """Give a connected node another token over its link."""
        return self._ask.object("POST", f"{_node(ref)}/token")

    def delete_node(self, ref: str, *, force: bool = False) -> None:
        """Forget a node; `force` even while it owns replicas."""
        self._ask.sent_as("DELETE", target(_node(ref), [("force", True)] if force else [])).read()

    def rebalance(self, *, dry_run: bool, most: int) -> list[Json]:
        """The moves that are worth it, made or only told, each with its reason."""
        query = [("most", most), *([("dry_run", True)] if dry_run else [])]
        return list(self._ask.object("POST", target(f"{ROOT}/nodes/rebalance", query))["moves"])

    def configs(self, query: Mapping[str, Any], *, limit: int | None = None, offset: int = 0) -> Page:
        """Configs, the last changed first; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/configs", query, limit, offset)

    def config(self, ref: str) -> Json:
        """One config with its entries, its files, and what it is attached to."""
        return self._ask.object("GET", _config(ref))

    def create_config(self, body: Json) -> Json:
        """A new config."""
        return self._ask.object("POST", f"{ROOT}/configs", body=body)

    def put_config(self, ref: str, body: Json) -> Json:
        """Change a config; entries and files are replaced as a whole where the body has them."""
        return self._ask.object("PUT", _config(ref), body=body)

    def delete_config(self, ref: str) -> Json:
        """Remove a config; what it was called."""
        return self._ask.object("DELETE", _config(ref))

    def attach_config(self, ref: str, kind: str, to: str) -> Json:
        """Give a config to a deployment or node (`kind`)."""
        return self._ask.object("POST", f"{_config(ref)}/{kind}s/{quoted(to)}")

    def detach_config(self, ref: str, kind: str, to: str) -> Json:
        """Take a config from a deployment or node (`kind`)."""
        return self._ask.object("DELETE", f"{_config(ref)}/{kind}s/{quoted(to)}")

    def environment(self, ref: str, replica: int = 0) -> Json:
        """Where each variable and file of a replica is from."""
        return self._ask.object("GET", target(f"{_deployment(ref)}/env", [("replica", replica)]))

    def secrets(self, *, limit: int | None = None, offset: int = 0) -> Page:
        """What is told of secrets, by name; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/secrets", {}, limit, offset)

    def put_secret(self, name: str, value: bytes) -> Json:
        """Keep a value under a name; what is told of it then."""
        headers = {"accept": "application/json", "content-type": "application/octet-stream"}
        whole = {**self._ask.credentials.operator(), **headers}
        return self._ask.read(self._ask.sent(Request(method="PUT", target=_secret(name), headers=whole, body=value)))

    def delete_secret(self, name: str, *, force: bool = False) -> None:
        """Forget a value; `force` even while deployments use it."""
        self._ask.sent_as("DELETE", target(_secret(name), [("force", True)] if force else [])).read()

    def registries(self, *, limit: int | None = None, offset: int = 0) -> Page:
        """What is told of registries' logins, by host; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/registries", {}, limit, offset)

    def put_registry(self, host: str, username: str, password: str) -> Json:
        """Keep the login of a registry; what is told of it then."""
        return self._ask.object("PUT", _registry(host), body={"username": username, "password": password})

    def delete_registry(self, host: str) -> None:
        """Forget the login of a registry."""
        self._ask.sent_as("DELETE", _registry(host)).read()

    def certificates(self, *, limit: int | None = None, offset: int = 0) -> Page:
        """What is told of gateways' certificates, by name; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/certificates", {}, limit, offset)

    def certificate(self, name: str) -> Json:
        """What is told of one."""
        return self._ask.object("GET", _certificate(name))

    def create_certificate(self, name: str, chain: str, key: str) -> Json:
        """Keep a new certificate with its key; what is told of it then."""
        return self._ask.object("POST", f"{ROOT}/certificates", body={"name": name, "chain": chain, "key": key})

    def put_certificate(self, name: str, chain: str, key: str) -> Json:
        """Keep a certificate in the place of another."""
        return self._ask.object("PUT", _certificate(name), body={"chain": chain, "key": key})

    def delete_certificate(self, name: str) -> None:
        """Forget a certificate and its key."""
        self._ask.sent_as("DELETE", _certificate(name)).read()

    def usage(self, query: Mapping[str, Any], *, limit: int | None = None, offset: int = 0) -> Page:
        """What replicas used, minute by minute, the newest first."""
        return self._ask.page(f"{ROOT}/usage", query, limit, offset)

    def requests(self, query: Mapping[str, Any]) -> Json:
        """`{limit, window_secs, as_of, items}`: what was asked of the control plane in the last minute."""
        return self._ask.object("GET", target(f"{ROOT}/metrics/summary", query.items()))

    def tokens(self, *, limit: int | None = None, offset: int = 0) -> Page:
        """What is told of operators' tokens, by name; `limit` None reads all pages."""
        return self._ask.page(f"{ROOT}/tokens", {}, limit, offset)

    def create_token(self, body: Json) -> Json:
        """`{token_id, token, name, role, expires_at?}`; the token is shown this once."""
        return self._ask.object("POST", f"{ROOT}/tokens", body=body)

    def revoke_token(self, ref: str) -> None:
        """Let nobody in with it any more."""
        self._ask.sent_as("DELETE", f"{ROOT}/tokens/{quoted(ref)}").read()

    def audit(self, query: Mapping[str, Any], *, limit: int | None = None) -> Page:
        """Who did what, the newest first; with `after` the lines after a number, oldest first."""
        return self._ask.page(f"{ROOT}/audit-logs", query, limit, 0)

    def verify_audit(self) -> Json:
        """`{intact, lines, first?, last?, digest?, fault?}` of the audit log."""
        return self._ask.object("GET", f"{ROOT}/audit-logs/verify")

    def register_node(self, facts: Json) -> Json:
        """`{node_id, node_token, name, tunnel}`; the token is shown this once."""
        headers = {**self._ask.credentials.registration(), "x-agent-version": __version__, **JSON}
        request = Request(method="POST", target=f"{ROOT}/nodes/register", headers=headers, body=encoded(facts))
        return self._ask.read(self._ask.sent(request))

    def join_token(self, body: Json) -> Json:
        """`{join, expires_at, uses}`; body `{ttl_seconds?, uses?}`."""
        return self._ask.object("POST", f"{ROOT}/nodes/join-tokens", body=body)


def _deployment(ref: str) -> str:
    return f"{ROOT}/deployments/{quoted(ref)}"


def _volume(ref: str, volume: str) -> str:
    return f"{_deployment(ref)}/volumes/{quoted(volume)}"


def _node(ref: str) -> str:
    return f"{ROOT}/nodes/{quoted(ref)}"


def _config(ref: str) -> str:
    return f"{ROOT}/configs/{quoted(ref)}"


def _secret(name: str) -> str:
    return f"{ROOT}/secrets/{quoted(name)}"


def _matching(generation: int | None) -> dict[str, str]:
    return {} if generation is None else {"if-match": f'"{generation}"'}


def _certificate(name: str) -> str:
    return f"{ROOT}/certificates/{quoted(name)}"


def _registry(host: str) -> str:
    return f"{ROOT}/registries/{quoted(host)}"


def _resuming(after: str | None) -> dict[str, str]:
    return {} if after is None else {"last-event-id": after}
