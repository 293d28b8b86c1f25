"""Alert rules: what wakes somebody, when, and what to type then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Alert:
    """
    One rule; ``severity`` is page (somebody must look now) or warn.

    ``hold`` is how long the expression must hold: longer than the thing takes to mend itself.
    """

    name: str
    expression: str
    hold: str
    severity: str
    summary: str
    remedy: str


ALERTS = (
    Alert(
        name="FledxControlPlaneDown",
        expression='up{job="fledx"} == 0',
        hold="2m",
        severity="page",
        summary="The control plane does not answer. Containers keep running; nothing can be changed.",
        remedy="systemctl status fledx-cp; journalctl -u fledx-cp -n 50; then fledx doctor on that machine",
    ),
    Alert(
        name="FledxNodeUnreachable",
        expression='fledx_nodes{status="unreachable"} > 0',
        hold="5m",
        severity="warn",
        summary="{{ $value }} nodes do not answer.",
        remedy="fledx nodes list --status unreachable; fledx events",
    ),
    Alert(
        name="FledxNodeEngineDown",
        expression='fledx_nodes{status="error"} > 0',
        hold="2m",
        severity="page",
        summary="The container engine of {{ $value }} nodes does not answer.",
        remedy="fledx nodes list --status error; then fledx doctor on that node",
    ),
    Alert(
        name="FledxDeploymentFailed",
        expression='fledx_deployments{status="failed"} > 0',
        hold="1m",
        severity="page",
        summary="{{ $value }} deployments have failed.",
        remedy="fledx deployments list --status failed; fledx deployments show NAME",
    ),
    Alert(
        name="FledxReplicasUnplaced",
        expression='fledx_replicas{state="unplaced"} > 0',
        hold="10m",
        severity="warn",
        summary="{{ $value }} replicas fit on no node.",
        remedy="fledx deployments list --status pending; fledx deployments show NAME says why, node by node",
    ),
    Alert(
        name="FledxReplicasNotReady",
        expression='fledx_replicas{state="wanted"} - ignoring(state) fledx_replicas{state="ready"} > 0',
        hold="15m",
        severity="warn",
        summary="{{ $value }} replicas are not ready.",
        remedy="fledx deployments list; fledx deployments show NAME",
    ),
    Alert(
        name="FledxRolledBack",
        expression='increase(fledx_events_total{kind="deployment.rolled_back"}[15m]) > 0',
        hold="0s",
        severity="warn",
        summary="A deployment went back to an older revision.",
        remedy="fledx events; fledx deployments history NAME",
    ),
    Alert(
        name="FledxApiErrors",
        expression="rate(fledx_http_failures_total[5m]) > 0.02",
        hold="2m",
        severity="page",
        summary="The API fails {{ $value | humanize }} times a second.",
        remedy="fledx metrics show; the log names each request by its id; look whether the disk is full",
    ),
    Alert(
        name="FledxApiSlow",
        expression="histogram_quantile(0.99, sum by (le)"
        ' (rate(fledx_http_request_duration_seconds_bucket{method!="GET"}[5m]))) > 1',
        hold="5m",
        severity="warn",
        summary="One of a hundred changes takes {{ $value | humanizeDuration }}.",
        remedy="look at the disk of the control plane: each change waits until it is written there",
    ),
    Alert(
        name="FledxTokensRefused",
        expression="sum(rate(fledx_tokens_refused_total[5m])) > 0.2",
        hold="5m",
        severity="warn",
        summary="Wrong tokens are shown {{ $value | humanize }} times a second.",
        remedy="fledx audit --status failure says from where",
    ),
    Alert(
        name="FledxBackupOld",
        expression="time() - fledx_backup_last_success_timestamp_seconds > 2 * 86400",
        hold="1h",
        severity="warn",
        summary="The newest backup of the control plane is {{ $value | humanizeDuration }} old.",
        remedy="look for `no backup was taken` in the control plane's log; fledx cp backup FILE",
    ),
    Alert(
        name="FledxCertificateEnds",
        expression="fledx_certificate_expiry_timestamp_seconds - time() < 14 * 86400",
        hold="1h",
        severity="warn",
        summary="A {{ $labels.use }} certificate ends in {{ $value | humanizeDuration }}.",
        remedy="fledx certificates list; the control plane's own is renewed by itself: its log says why not",
    ),
    Alert(
        name="FledxAgentDisconnected",
        expression="fledx_agent_tunnel_connected == 0",
        hold="10m",
        severity="warn",
        summary="The agent on {{ $labels.instance }} has no link to its control plane.",
        remedy="curl localhost:9901/health on that node says why",
    ),
    Alert(
        name="FledxAgentEngineDown",
        expression="fledx_agent_runtime_up == 0",
        hold="2m",
        severity="page",
        summary="The container engine on {{ $labels.instance }} does not answer.",
        remedy="systemctl status docker on that node; fledx doctor",
    ),
    Alert(
        name="FledxGatewayFailed",
        expression='fledx_gateways{state="failed"} > 0',
        hold="2m",
        severity="page",
        summary="{{ $value }} gateways do not serve what they should: what is public may be out of reach.",
        remedy="fledx status says which and why; curl localhost:9901/health on that node shows its Envoy",
    ),
    Alert(
        name="FledxReplicaRestarts",
        expression='increase(fledx_agent_happenings_total{kind="restart"}[15m]) > 5',
        hold="0s",
        severity="warn",
        summary="Replicas on {{ $labels.instance }} were restarted {{ $value | humanize }} times in 15 minutes.",
        remedy="fledx nodes show NAME; fledx events; fledx deployments show NAME has the last lines",
    ),
)


def rules() -> dict[str, Any]:
    """A Prometheus rule file as data."""
    return {"groups": [{"name": "fledx", "rules": [_rule(each) for each in ALERTS]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.remedy},
    }
