"""What an operator can tune on one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fledx.settings.declare import boolean, one_of, pairs, port_range, seconds, setting, some_of, whole, words

#: `models.permission` says what each of them is.
ALLOWABLE = ("privileged", "host_network", "docker_socket", "devices", "capabilities")
PORT = whole(least=0, most=65535)


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Names and defaults are the mission README's; what joining has stored fills in what is not set."""

    PREFIX: ClassVar[str] = "FLEDX_AGENT"

    data_dir: str | None = setting(None, "where identity and desired state lie [the XDG state directory]")
    control_plane_url: str | None = setting(None, "URL of the control plane")
    node_id: str | None = setting(None, "this node's id")
    node_token: str | None = setting(None, "this node's token", secret=True)
    ca_file: str | None = setting(None, "PEM file of the certificate authority to trust [pinned by the token]")
    name: str | None = setting(None, "name to join under [the host's name]")
    labels: Mapping[str, str] = setting({}, "labels, KEY=VALUE comma-separated", parse=pairs)
    capacity_cpu_millis: int | None = setting(None, "CPU offered, in 1/1000 cores [all]", parse=whole(least=1))
    capacity_memory_bytes: int | None = setting(None, "memory offered, in bytes [all]", parse=whole(least=1))
    arch: str | None = setting(None, "architecture to report [the machine's]")
    os: str | None = setting(None, "operating system to report [the machine's]")
    public_ip: str | None = setting(None, "address under which the node is reached from outside")
    public_host: str | None = setting(None, "host name under which the node is reached from outside")
    ports_range: tuple[int, int] | None = setting(
        None, "host ports to choose from on this node, FIRST-LAST [the control plane's]", parse=port_range
    )
    tunnel_endpoint_host: str | None = setting(None, "host to dial [the control plane URL's]")
    tunnel_endpoint_port: int | None = setting(None, "port to dial [7443]", parse=PORT)
    tunnel_use_tls: bool = setting(True, "TLS on the tunnel; false sends the token in the clear", parse=boolean)
    tunnel_connect_timeout_secs: float = setting(30.0, "limit of one attempt to connect", parse=seconds(least=1))
    docker_host: str | None = setting(None, "Docker's address [DOCKER_HOST, else /var/run/docker.sock]")
    metrics_host: str = setting("127.0.0.1", "address /metrics listens on")
    metrics_port: int = setting(9091, "port of /metrics; 0 turns it off", parse=PORT)
    health_port: int = setting(9901, "port of /health on loopback; 0 turns it off", parse=PORT)
    reconcile_interval_secs: float = setting(10.0, "seconds between two looks without an event", parse=seconds(least=1))
    restart_backoff_secs: float = setting(1.0, "first wait before a restart, doubled each time", parse=seconds())
    restart_backoff_max_secs: float = setting(30.0, "longest of the quick waits", parse=seconds())
    restart_failure_limit: int = setting(5, "quick restarts before the slow ones", parse=whole(least=1))
    restart_slow_secs: float = setting(300.0, "wait between slow restarts", parse=seconds(least=1))
    metered: bool = setting(
        False, "the link costs by the byte: beat every 30 s, tell usage once an hour", parse=boolean
    )
    resource_sample_interval_secs: float | None = setting(
        None, "seconds between usage samples [30; 120 when metered]", parse=seconds(least=1)
    )
    disk_reserve_bytes: int = setting(
        500_000_000, "bytes of Docker's disk that stay free: no image is pulled into them", parse=whole()
    )
    disk_clean_percent: int = setting(
        85, "use of Docker's disk above which images are removed that no revision needs", parse=whole(least=1, most=100)
    )
    allowed_volume_prefixes: tuple[str, ...] = setting(
        ("/var/lib/fledx/volumes",), "host directories a volume may lie under", parse=words
    )
    allow: tuple[str, ...] = setting(
        (),
        f"what workloads may have here that leads out of their container: {', '.join(ALLOWABLE)}",
        parse=some_of(*ALLOWABLE),
    )
    secrets_dir: str = setting("/var/run/secrets", "directory of the node's own secret files")
    secrets_prefix: str = setting("FLEDX_SECRET_", "prefix of the node's own secrets in its environment")
    config_dir: str | None = setting(
        None, "where the key lies that seals this node's state [/etc/fledx/agent, else the XDG configuration directory]"
    )
    unsealed_state: bool = setting(
        False, "keep secrets in clear in the data directory where they cannot be sealed", parse=boolean
    )
    gateway_enabled: bool = setting(False, "serve public ingress: run Envoy on this node", parse=boolean)
    gateway_envoy_image: str = setting("envoyproxy/envoy:v1.33-latest", "image of Envoy, 1.33 or newer")
    gateway_address: str = setting("0.0.0.0", "address that Envoy listens on")
    gateway_http_port: int = setting(10000, "port of public HTTP", parse=whole(least=1, most=65535))
    gateway_https_port: int = setting(10443, "port of public HTTPS; 0 serves none", parse=PORT)
    gateway_proxy_protocol: bool = setting(
        False, "a load balancer is in front that speaks the PROXY protocol; others are refused", parse=boolean
    )
    gateway_trusted_hops: int = setting(0, "proxies in front whose X-Forwarded-For is believed", parse=whole(most=100))
    gateway_direct: str = setting(
        "off", "auto: reach other nodes without the tunnel, unencrypted, where that works", parse=one_of("off", "auto")
    )
    gateway_dir: str | None = setting(
        None, "directory in memory shared with Envoy [RUNTIME_DIRECTORY, /run or /dev/shm]"
    )
    gateway_watches: int | None = setting(
        None, "files that Envoy may watch [half of fs.inotify.max_user_instances]", parse=whole(least=1)
    )
    gateway_concurrency: int | None = setting(None, "threads of Envoy [one a core]", parse=whole(least=1, most=512))
    gateway_max_connections: int = setting(
        12000, "clients at the same time; more are closed at once", parse=whole(least=10)
    )
    cleanup_on_shutdown: bool = setting(False, "remove this agent's containers when it stops", parse=boolean)
