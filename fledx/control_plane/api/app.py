"""The route table of the API, and the application made from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from fledx.control_plane.api.audit import AUDIT_FILTERS, AuditEndpoints
from fledx.control_plane.api.auth import Gate
from fledx.control_plane.api.certificates import (
    CERTIFICATE_FILTERS,
    CertificateEndpoints,
    CertificateInput,
    NewCertificate,
)
from fledx.control_plane.api.cleartext import Cleartext
from fledx.control_plane.api.configs import CONFIG_FILTERS, REPLICA, ConfigEndpoints
from fledx.control_plane.api.deployments import (
    CREATE,
    DEPLOYMENT_FILTERS,
    DROPPING,
    KEYED,
    MATCHED,
    Created,
    DeploymentEndpoints,
)
from fledx.control_plane.api.edge import Edge
from fledx.control_plane.api.endpoint import ChangesOf, Endpoint, Limits, PageOf, Resource
from fledx.control_plane.api.errors import on_fault, on_refusal
from fledx.control_plane.api.events import EVENT_FILTERS, RESUMED, EventEndpoints, EventPage
from fledx.control_plane.api.fleet import DELETION, REBALANCE, Cordon, FleetEndpoints, Labels, Moves
from fledx.control_plane.api.logs import LOGS_OF_ALL, LOGS_OF_ONE, LogEndpoints
from fledx.control_plane.api.nodes import (
    NODE_FILTERS,
    Join,
    JoinRequest,
    NodeDetail,
    NodeEndpoints,
    RegisteredNode,
    tunnel_of,
)
from fledx.control_plane.api.openapi import Description
from fledx.control_plane.api.params import PAGING
from fledx.control_plane.api.registries import REGISTRY_FILTERS, LoginInput, RegistryEndpoints
from fledx.control_plane.api.revisions import RevisionEndpoints, RollbackRequest
from fledx.control_plane.api.secrets import FORCE, RAW, SECRET_FILTERS, SecretEndpoints, SecretInput
from fledx.control_plane.api.system import (
    ARTIFACT_TYPE,
    METRICS_TYPE,
    SUMMARY,
    Authority,
    RequestSummary,
    Status,
    SystemEndpoints,
    authority_of,
)
from fledx.control_plane.api.tokens import TOKEN_FILTERS, TokenEndpoints
from fledx.control_plane.api.usage import USAGE_FILTERS, UsageEndpoints
from fledx.control_plane.api.volumes import HOW, VOLUME_FILTERS, WHICH, VolumeEndpoints
from fledx.control_plane.api.watching import Gone, WatchEndpoints
from fledx.control_plane.audit import AuditLog
from fledx.control_plane.configs import Configs
from fledx.control_plane.deployments import Deployments
from fledx.control_plane.events import Events
from fledx.control_plane.fleet import Drain, Fleet
from fledx.control_plane.ingress.certificates import Certificates
from fledx.control_plane.logs import Logs
from fledx.control_plane.metrics import Metrics
from fledx.control_plane.nodes import Nodes
from fledx.control_plane.overview import Overview
from fledx.control_plane.rebalancing import Rebalancing
from fledx.control_plane.registries import Registries
from fledx.control_plane.revisions import Revisions
from fledx.control_plane.secrets import Secrets
from fledx.control_plane.trust.operator_tokens import MadeToken, NewToken, OperatorTokens
from fledx.control_plane.trust.tokens import Tokens
from fledx.control_plane.usage import UsageHistory
from fledx.control_plane.volumes import Volumes
from fledx.control_plane.watching import Watching
from fledx.errors import FledxError
from fledx.models.archive import MEDIA
from fledx.models.audit import AuditEntry, Verified
from fledx.models.certificate import Certificate
from fledx.models.config import Attachment, Config, ConfigItem, ConfigMetadata, ConfigSpec, Environment
from fledx.models.deployment import Deployment, DeploymentSpec, Revision
from fledx.models.event import Event, LogLine
from fledx.models.node import Node, NodeFacts
from fledx.models.registry import Registry
from fledx.models.secret import Secret
from fledx.models.token import OperatorToken
from fledx.models.usage import Usage
from fledx.models.volume import Volume
from fledx.settings.control_plane import ControlPlaneSettings

Application = Starlette
V1 = "/api/v1"
SSE = "text/event-stream"
LINES = "application/x-ndjson"


def versioned(
    deployments: DeploymentEndpoints,
    revisions: RevisionEndpoints,
    nodes: NodeEndpoints,
    fleet: FleetEndpoints,
    logs: LogEndpoints,
    events: EventEndpoints,
    configs: ConfigEndpoints,
    secrets: SecretEndpoints,
    registries: RegistryEndpoints,
    certificates: CertificateEndpoints,
    tokens: TokenEndpoints,
    audit: AuditEndpoints,
    usage: UsageEndpoints,
    watching: WatchEndpoints,
    volumes: VolumeEndpoints,
    system: SystemEndpoints,
) -> tuple[Endpoint, ...]:
    """What lies under /api/v1; lines of one path stand together, and a fixed word before `{ref}`."""
    one, config, secret = "/deployments/{ref}", "/configs/{ref}", "/secrets/{ref}"
    certificate = "/certificates/{ref}"
    in_volume = f"{one}/volumes/{{target}}"
    in_deployment, in_node = f"{config}/deployments/{{target}}", f"{config}/nodes/{{target}}"
    return (
        Endpoint("GET", "/deployments", deployments.page, query=DEPLOYMENT_FILTERS, answer=PageOf(Deployment)),
        Endpoint(
            "POST",
            "/deployments",
            deployments.create,
            query=CREATE,
            headers=KEYED,
            body=DeploymentSpec,
            answer=Created,
            dry_status=200,
        ),
        Endpoint("GET", one, deployments.get, answer=Deployment),
        Endpoint("PATCH", one, deployments.patch, headers=MATCHED, body=ChangesOf(DeploymentSpec), answer=Deployment),
        Endpoint("PUT", one, deployments.put, headers=MATCHED, body=DeploymentSpec, answer=Deployment),
        Endpoint("DELETE", one, deployments.delete, query=DROPPING, headers=MATCHED),
        Endpoint("GET", f"{one}/watch", deployments.watch, answer=Deployment, media=SSE),
        Endpoint("GET", f"{one}/revisions", revisions.page, query=PAGING, answer=PageOf(Revision)),
        Endpoint(
            "POST",
            f"{one}/rollback",
            revisions.rollback,
            headers=MATCHED,
            body=RollbackRequest,
            answer=Deployment,
            done=200,
        ),
        Endpoint("POST", f"{one}/restart", revisions.restart, headers=MATCHED, answer=Deployment, done=200),
        Endpoint("GET", f"{one}/logs", logs.of_one, query=LOGS_OF_ONE, answer=LogLine, media=LINES),
        Endpoint("GET", f"{one}/env", configs.environment, query=REPLICA, answer=Environment),
        Endpoint("GET", "/logs", logs.of_all, query=LOGS_OF_ALL, answer=LogLine, media=LINES),
        Endpoint("GET", "/nodes", nodes.page, query=NODE_FILTERS, answer=PageOf(Node)),
        Endpoint(
            "POST", "/nodes/register", nodes.register, access="registration", body=NodeFacts, answer=RegisteredNode
        ),
        Endpoint("POST", "/nodes/join-tokens", nodes.create_join, body=JoinRequest, answer=Join),
        Endpoint("POST", "/nodes/rebalance", fleet.rebalance, query=REBALANCE, answer=Moves, done=200),
        Endpoint("GET", "/nodes/{ref}", nodes.get, answer=NodeDetail),
        Endpoint("DELETE", "/nodes/{ref}", fleet.delete, query=DELETION),
        Endpoint("POST", "/nodes/{ref}/cordon", fleet.cordon, body=Cordon, answer=Node, done=200),
        Endpoint("POST", "/nodes/{ref}/uncordon", fleet.uncordon, answer=Node, done=200),
        Endpoint("POST", "/nodes/{ref}/drain", fleet.drain, body=Drain, answer=Node, done=200),
        Endpoint("PATCH", "/nodes/{ref}/labels", fleet.label, body=Labels, answer=Node),
        Endpoint("POST", "/nodes/{ref}/token", fleet.rotate_token, access="admin", answer=Node, done=200),
        Endpoint("GET", "/configs", configs.page, query=CONFIG_FILTERS, answer=PageOf(ConfigItem)),
        Endpoint("POST", "/configs", configs.create, body=ConfigSpec, answer=Config),
        Endpoint("GET", config, configs.get, answer=Config),
        Endpoint("PUT", config, configs.put, body=ChangesOf(ConfigSpec), answer=Config),
        Endpoint("DELETE", config, configs.delete, answer=ConfigMetadata, done=200),
        Endpoint("POST", in_deployment, configs.attach_deployment, answer=Attachment, other=200),
        Endpoint("DELETE", in_deployment, configs.detach_deployment, answer=Attachment, done=200),
        Endpoint("POST", in_node, configs.attach_node, answer=Attachment, other=200),
        Endpoint("DELETE", in_node, configs.detach_node, answer=Attachment, done=200),
        Endpoint("GET", "/secrets", secrets.page, query=SECRET_FILTERS, answer=PageOf(Secret)),
        Endpoint("GET", secret, secrets.get, answer=Secret),
        Endpoint("PUT", secret, secrets.put, body=SecretInput, raw=RAW, answer=Secret, other=201),
        Endpoint("DELETE", secret, secrets.delete, query=FORCE),
        Endpoint("GET", "/registries", registries.page, query=REGISTRY_FILTERS, answer=PageOf(Registry)),
        Endpoint("GET", "/registries/{ref}", registries.get, answer=Registry),
        Endpoint("PUT", "/registries/{ref}", registries.put, body=LoginInput, answer=Registry, other=201),
        Endpoint("DELETE", "/registries/{ref}", registries.delete),
        Endpoint("GET", "/certificates", certificates.page, query=CERTIFICATE_FILTERS, answer=PageOf(Certificate)),
        Endpoint("POST", "/certificates", certificates.create, body=NewCertificate, answer=Certificate),
        Endpoint("GET", certificate, certificates.get, answer=Certificate),
        Endpoint("PUT", certificate, certificates.put, body=CertificateInput, answer=Certificate, other=201),
        Endpoint("DELETE", certificate, certificates.delete),
        Endpoint("GET", "/volumes", volumes.page, query=VOLUME_FILTERS, answer=PageOf(Volume)),
        Endpoint("POST", f"{in_volume}/backup", volumes.backup, query=HOW, answer=str, media=MEDIA, done=200),
        Endpoint("POST", f"{in_volume}/restore", volumes.restore, query=WHICH, upload=MEDIA, answer=Volume, done=200),
        Endpoint("GET", "/events", events.read, query=EVENT_FILTERS, headers=RESUMED, answer=EventPage, streams=Event),
        Endpoint("GET", "/tokens", tokens.page, access="admin", query=TOKEN_FILTERS, answer=PageOf(OperatorToken)),
        Endpoint("POST", "/tokens", tokens.create, access="admin", body=NewToken, answer=MadeToken),
        Endpoint("DELETE", "/tokens/{ref}", tokens.revoke, access="admin"),
        Endpoint("GET", "/audit-logs", audit.page, query=AUDIT_FILTERS, answer=PageOf(AuditEntry)),
        Endpoint("GET", "/audit-logs/verify", audit.verify, answer=Verified),
        Endpoint("GET", "/usage", usage.page, query=USAGE_FILTERS, answer=PageOf(Usage)),
        Endpoint("GET", "/metrics/summary", system.requests, query=SUMMARY, answer=RequestSummary),
        Endpoint("GET", "/status", system.status, answer=Status),
        Endpoint("GET", "/watch", watching.watch, answer=Gone, media=SSE),
        Endpoint("GET", "/authority", system.authority, access="public", answer=Authority),
    )


def unversioned(system: SystemEndpoints, description: Description) -> tuple[Endpoint, ...]:
    """What lies at the root."""
    return (
        Endpoint("GET", "/health", system.health, access="public", answer=dict),
        Endpoint("GET", "/metrics", system.metrics, access="metrics", answer=str, media=METRICS_TYPE),
        Endpoint("GET", "/artifact/fledx.pyz", system.artifact, access="public", answer=str, media=ARTIFACT_TYPE),
        Endpoint("GET", "/openapi.json", description.openapi, access="public", answer=dict),
        Endpoint("GET", "/docs", description.page, access="public", answer=str, media="text/html"),
    )


def app(
    *,
    deployments: Deployments,
    revisions: Revisions,
    nodes: Nodes,
    fleet: Fleet,
    rebalancing: Rebalancing,
    tokens: Tokens,
    logs: Logs,
    events: Events,
    configs: Configs,
    secrets: Secrets,
    registries: Registries,
    certificates: Certificates,
    operator_tokens: OperatorTokens,
    audit: AuditLog,
    usage: UsageHistory,
    volumes: Volumes,
    overview: Overview,
    watching: Watching,
    settings: ControlPlaneSettings,
    metrics: Metrics,
    authority: str | None,
    stopping: anyio.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Application:
    """
    The API as an ASGI application.

    `authority` is the PEM that nodes pin, None where the tunnel is in the clear. Streams end once `stopping` is set.
    """
    gate = Gate(tokens, settings, metrics, clock=clock)
    limits = Limits(body_bytes=settings.limits_body_bytes, requests=settings.limits_requests)
    metrics.in_progress(lambda: limits.requests.used, lambda: limits.streams.used)
    description = Description(settings.operator_header_name)
    system = SystemEndpoints(overview, metrics, authority=authority_of(authority, tokens.endpoint.pins))
    endpoints = versioned(
        DeploymentEndpoints(deployments, stopping=stopping),
        RevisionEndpoints(revisions),
        NodeEndpoints(nodes, tokens, gate, tunnel=tunnel_of(tokens.endpoint, settings)),
        FleetEndpoints(fleet, rebalancing),
        LogEndpoints(logs, stopping=stopping),
        EventEndpoints(events, stopping=stopping),
        ConfigEndpoints(configs),
        SecretEndpoints(secrets),
        RegistryEndpoints(registries),
        CertificateEndpoints(certificates),
        TokenEndpoints(operator_tokens),
        AuditEndpoints(audit),
        UsageEndpoints(usage),
        WatchEndpoints(watching, stopping=stopping),
        VolumeEndpoints(volumes, stopping=stopping),
        system,
    )
    endpoints = tuple(replace(each, path=V1 + each.path) for each in endpoints)
    description.endpoints = (*endpoints, *unversioned(system, description))
    routes = [
        Route(path, Resource(tuple(group), gate=gate, limits=limits, audit=audit))
        for path, group in groupby(description.endpoints, key=lambda endpoint: endpoint.path)
    ]
    made = Starlette(
        routes=routes,
        middleware=[Middleware(Edge, metrics=metrics), *([Middleware(Cleartext)] if settings.api_over_tls else ())],
        exception_handlers={FledxError: on_fault, HTTPException: on_refusal},
    )
    made.router.redirect_slashes = False
    return made
