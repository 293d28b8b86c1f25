"""What an operator can tune on the control plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fledx.errors import InvalidSpec
from fledx.settings.declare import boolean, seconds, setting, whole, words

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORT = whole(least=0, most=65535)


@dataclass(frozen=True, kw_only=True)
class ControlPlaneSettings:
    """Names and defaults are the mission README's; 0 as a port lets the system choose one."""

    PREFIX: ClassVar[str] = "FLEDX_CP"

    data_dir: str | None = setting(None, "where the database, keys and tokens lie [the XDG state directory]")
    database_url: str | None = setting(None, "sqlite:///PATH of the database [fledx.db in the data directory]")
    server_host: str = setting("127.0.0.1", "address the API listens on")
    server_port: int = setting(8080, "port of the API", parse=PORT)
    server_tls: bool | None = setting(
        None, "serve the API over TLS [true unless it listens on loopback only]", parse=boolean
    )
    server_names: tuple[str, ...] = setting((), "further host names and addresses for the certificate", parse=words)
    tunnel_host: str = setting("0.0.0.0", "address the agents' tunnel listens on")
    tunnel_port: int | None = setting(None, "port the tunnel listens on [the advertised port]", parse=PORT)
    tunnel_advertised_host: str | None = setting(None, "host name agents dial [this machine's own address]")
    tunnel_advertised_port: int = setting(7443, "port agents dial", parse=PORT)
    tunnel_use_tls: bool = setting(True, "TLS on the tunnel; false sends tokens in the clear", parse=boolean)
    tunnel_heartbeat_interval_secs: float = setting(5.0, "seconds between heartbeats", parse=seconds(least=1))
    operator_tokens: tuple[str, ...] = setting((), "operators' tokens, comma-separated", parse=words, secret=True)
    operator_header_name: str = setting("authorization", "header that carries the operator's token")
    registration_token: str | None = setting(None, "a token that registers any number of nodes", secret=True)
    registration_rate_limit_per_minute: int = setting(30, "refused registrations a source may make", parse=whole())
    tokens_pepper: str | None = setting(None, "key of the token hashes [made once and kept]", secret=True)
    reachability_heartbeat_stale_secs: float = setting(
        90.0, "silence after which a node's work is moved", parse=seconds(least=1)
    )
    reachability_sweep_interval_secs: float = setting(1.0, "seconds between two looks", parse=seconds(least=0.1))
    reachability_reschedule_on_unreachable: bool = setting(True, "move work at all", parse=boolean)
    ports_auto_assign: bool = setting(True, "choose a host port where none is fixed", parse=boolean)
    ports_range_start: int = setting(30000, "first host port to choose from", parse=whole(least=1, most=65535))
    ports_range_end: int = setting(40000, "last host port to choose from", parse=whole(least=1, most=65535))
    ports_public_host: str | None = setting(None, "host shown in endpoints where a node names none")
    ingress_drain_grace_secs: float = setting(
        10.0, "how long a replica behind gateways is drained at most", parse=seconds()
    )
    metrics_public: bool = setting(False, "answer /metrics to anyone, not only to loopback", parse=boolean)
    limits_body_bytes: int = setting(2 * 1024 * 1024, "largest request body", parse=whole(least=1024))
    limits_requests: int = setting(64, "requests in progress before 503", parse=whole(least=1))
    backup_interval_secs: float = setting(86400.0, "seconds between two backups in the data directory", parse=seconds())
    backup_keep_secs: float = setting(14 * 86400.0, "how long those are kept; the newest always", parse=seconds())
    retention_usage_window_secs: float = setting(7 * 86400.0, "how long usage is kept", parse=seconds())
    retention_event_secs: float = setting(30 * 86400.0, "how long events are kept", parse=seconds())
    retention_audit_log_secs: float = setting(90 * 86400.0, "how long the audit log is kept", parse=seconds())

    @property
    def api_over_tls(self) -> bool:
        """Whether the API speaks TLS."""
        return self.server_host not in LOOPBACK if self.server_tls is None else self.server_tls

    def __post_init__(self) -> None:
        if self.ports_range_start > self.ports_range_end:
            raise InvalidSpec(
                "FLEDX_CP_PORTS_RANGE_START", f"{self.ports_range_start} lies above the end, {self.ports_range_end}"
            )
        if self.database_url is not None and not self.database_url.startswith("sqlite://"):
            raise InvalidSpec("FLEDX_CP_DATABASE_URL", f"{self.database_url!r} is not sqlite:///PATH")
