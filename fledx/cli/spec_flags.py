"""The flags that describe a deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fledx.cli import types
from fledx.cli.options import Parser, complete

STATES = ("running", "stopped")
MODES = ("service", "global", "job")
RESTARTS = ("always", "on-failure", "never")
PULLS = ("if-not-present", "always", "never")
NETWORKS = ("bridge", "host")
RESCHEDULE = "how long a node may be silent before its replica is placed elsewhere, or never [90s]"
#: Flag of a nested field, its type, and where it goes in the body.
NESTED: tuple[tuple[str, Callable[[str], Any], tuple[str, ...], str], ...] = (
    ("--limit-cpu", types.cpu, ("limits", "cpu_millis"), "cores a replica may use, such as 1.5 or 500m"),
    ("--limit-memory", types.memory, ("limits", "memory_bytes"), "memory a replica may use, such as 512Mi"),
    ("--limit-pids", types.count, ("limits", "pids"), "processes a replica may have"),
    ("--log-size", types.memory, ("limits", "log_bytes"), "size of one file of its logs, such as 50M [10M]"),
    ("--log-files", types.count, ("limits", "log_files"), "files of its logs that are kept [3]"),
    ("--require-arch", str, ("constraints", "arch"), "only nodes of this architecture"),
    ("--require-os", str, ("constraints", "os"), "only nodes with this operating system"),
    ("--require-cpu", types.cpu, ("constraints", "capacity", "cpu_millis"), "cores reserved for each replica"),
    ("--require-cpu-millis", types.millis, ("constraints", "capacity", "cpu_millis"), "the same in 1/1000 cores"),
    ("--require-memory", types.memory, ("constraints", "capacity", "memory_bytes"), "memory reserved for each replica"),
    ("--require-memory-bytes", types.memory, ("constraints", "capacity", "memory_bytes"), "the same in bytes"),
    ("--max-surge", types.whole, ("update", "max_surge"), "extra replicas that may be started first [0]"),
    ("--max-unavailable", types.whole, ("update", "max_unavailable"), "replicas that may be down during an update [1]"),
    ("--min-healthy", types.seconds, ("update", "min_healthy_seconds"), "how long a new replica must be ready [3s]"),
    ("--progress-deadline", types.some_seconds, ("update", "progress_deadline_seconds"), "limit without progress [5m]"),
    ("--watch-time", types.seconds, ("update", "watch_seconds"), "how long one must stay ready in the end [35s]"),
    ("--reschedule-after", types.some_seconds_or_never, ("reschedule", "after_seconds"), RESCHEDULE),
    (
        "--on-return",
        types.on_return,
        ("reschedule", "on_return"),
        "keep-new or keep-original, when a lost node is back",
    ),
    ("--on-failure", str, ("update", "on_failure"), "rollback or pause, when an update fails [rollback]"),
    ("--spread-over", str, ("placement", "spread_over"), "a label of nodes, evenly over whose values replicas spread"),
    ("--strategy", str, ("placement", "strategy"), "least (the node with the least load first) or pack [least]"),
)
#: Flag of a repeated nested field, and where it goes.
REPEATED: tuple[tuple[str, Callable[[str], Any], tuple[str, ...], str], ...] = (
    ("--require-label", types.pair, ("constraints", "labels"), "only nodes with this label"),
    (
        "--require",
        str,
        ("constraints", "rules"),
        "only nodes whose labels satisfy `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key` or `!key`",
    ),
    ("--affinity-node", str, ("placement", "affinity", "node_ids"), "rather on this node"),
    ("--affinity-label", types.pair, ("placement", "affinity", "labels"), "rather on nodes with this label"),
    ("--anti-affinity-node", str, ("placement", "anti_affinity", "node_ids"), "rather not on this node"),
    ("--anti-affinity-label", types.pair, ("placement", "anti_affinity", "labels"), "rather not on such nodes"),
    ("--affinity-deployment", str, ("placement", "affinity", "deployments"), "rather where this deployment runs"),
    (
        "--anti-affinity-deployment",
        str,
        ("placement", "anti_affinity", "deployments"),
        "rather not where this deployment runs",
    ),
    ("--near", str, ("placement", "near"), "only where this deployment runs"),
    ("--apart", str, ("placement", "apart"), "never where this deployment runs; its own name: one replica a node"),
)
#: What a clear flag empties, by the empty value that means so.
CLEAR: Mapping[str, Any] = {
    "command": [],
    "entrypoint": [],
    "env": {},
    "secret_env": [],
    "secret_files": [],
    "ports": [],
    "constraints": {},
    "placement": {},
    "volumes": [],
    "health": {},
    "limits": {},
    "labels": {},
    "ingress": [],
    "user": "",
    "tmpfs": [],
    "ulimits": [],
    "devices": [],
    "cap_add": [],
    "cap_drop": [],
    "stop_signal": "",
}
PROBES = (("health", "liveness"), ("readiness", "readiness"))


def add_spec(parser: Parser) -> None:
    """Everything that a deployment can be told; what is not given keeps its default, or on update its value."""
    parser.add_argument("--image", help="container image, such as nginx:1.27")
    parser.add_argument("--replicas", metavar="N", type=types.count, help="how many copies [1]")
    parser.add_argument(
        "--mode", choices=MODES, help="replicas that run on, one on each node that suits, or ones that end [service]"
    )
    _add_container(parser)
    _add_confinement(parser)
    _add_nested(parser)
    for prefix, kind in PROBES:
        _add_probe(parser, prefix, kind)
    group = parser.add_argument_group("jobs")
    group.add_argument("--retries", metavar="N", type=types.whole, help="further attempts after one that failed [3]")
    group.add_argument("--schedule", metavar="CRON", help="run at these times: '*/5 * * * *', @daily [once, at once]")
    group.add_argument("--timezone", metavar="ZONE", help="by whose clocks, such as Europe/Berlin [UTC]")
    group = parser.add_argument_group("lifecycle")
    group.add_argument("--desired-state", choices=STATES, help="whether it is to run [running]")
    group.add_argument("--restart", choices=RESTARTS, help="when a container that ended is started again [always]")
    group.add_argument("--stop-grace", metavar="TIME", type=types.seconds, help="time to end before it is killed [10s]")
    group.add_argument("--stop-signal", metavar="SIGNAL", help="how it is asked to end [the image's, else SIGTERM]")


def _add_container(parser: Parser) -> None:
    group = parser.add_argument_group("container")
    group.add_argument("--pull", choices=PULLS, help="when the registry is asked for the image [if-not-present]")
    group.add_argument(
        "--command",
        metavar="WORD",
        nargs="+",
        action="append",
        help="what to run, by the image's entry point if it has one: one quoted string is split as a shell would; "
        "several words are taken as they are. Words that begin with '-' go after a final '--'",
    )
    group.add_argument(
        "--entrypoint",
        metavar="WORD",
        nargs="+",
        action="append",
        help="what to run instead of the image's entry point, given like --command; the image's own command is then "
        "left out as well",
    )
    many: Sequence[tuple[str, Callable[[str], Any], str, str]] = (
        ("--env", types.pair, "KEY=VALUE", "environment variable"),
        ("--port", types.port, "PORT", "published port: 80, 8080:80/tcp, auto:80, IP:HOST:CONTAINER/udp, ...,expose"),
        ("--expose-port", types.port_number, "PORT", "container port of a --port that may be shown to the world"),
        ("--volume", types.volume, "SOURCE:CONTAINER[:ro]", "a volume by name, or a directory of the node"),
        ("--secret-env", types.secret_env, "NAME=SECRET", "variable from a secret; `docker inspect` shows it"),
        ("--secret-env-optional", types.optional(types.secret_env), "NAME=SECRET", "the same, left out if missing"),
        (
            "--secret-file",
            types.secret_file,
            "PATH=SECRET",
            "file from a secret, kept in memory [,owner=UID[:GID]][,mode=0400]",
        ),
        ("--secret-file-optional", types.optional(types.secret_file), "PATH=SECRET", "the same, left out if missing"),
        (
            "--ingress",
            types.ingress,
            "HOST[/PATH][:PORT]",
            "where gateways serve it, and by which container port [,exact][,h2c][,rewrite=/PATH][,timeout=30s]"
            "[,max-body=10Mi][,no-redirect]",
        ),
        ("--label", types.pair, "KEY=VALUE", "label of the deployment"),
    )
    for flag, read, metavar, text in many:
        group.add_argument(flag, type=read, metavar=metavar, action="append", help=f"{text}; repeatable")


def _add_confinement(parser: Parser) -> None:
    group = parser.add_argument_group(
        "confinement; what is marked * only where the node's own FLEDX_AGENT_ALLOW has it"
    )
    group.add_argument("--user", metavar="UID[:GID]", help="whom it runs as [the image's]")
    for flag, text in (
        ("read-only", "its root file system cannot be written"),
        ("init", "a small init reaps its dead processes"),
        ("privileged", "* everything that root of the node may do"),
    ):
        dest = flag.replace("-", "_")
        group.add_argument(f"--{flag}", dest=dest, action="store_true", default=None, help=text)
        group.add_argument(f"--no-{flag}", dest=dest, action="store_false", help="no longer so")
    many: Sequence[tuple[str, Callable[[str], Any], str, str]] = (
        ("--tmpfs", types.tmpfs, "PATH[:size=64m]", "a file system in memory"),
        ("--ulimit", types.ulimit, "NAME=SOFT[:HARD]", "limit of each process, such as nofile=1024:4096"),
        ("--cap-drop", str, "CAP", "a capability to take away, or ALL"),
        ("--cap-add", str, "CAP", "a capability to give back, * or one that containers do not have"),
        ("--device", types.device, "HOST[:CONTAINER][:rwm]", "* a device of the node"),
    )
    for flag, read, metavar, text in many:
        group.add_argument(flag, type=read, metavar=metavar, action="append", help=f"{text}; repeatable")
    group.add_argument("--network", choices=NETWORKS, help="a network of its own, or * the node's [bridge]")


def _add_nested(parser: Parser) -> None:
    group = parser.add_argument_group("resources, placement and updates")
    for flag, read, _, text in NESTED:
        group.add_argument(flag, type=read, metavar="VALUE", help=text)
    for flag, read, _, text in REPEATED:
        action = group.add_argument(flag, type=read, metavar="VALUE", action="append", help=f"{text}; repeatable")
        if flag.endswith("-node"):
            complete("node", action)
        elif flag.endswith("-deployment") or flag in ("--near", "--apart"):
            complete("deployment", action)
    group.add_argument("--spread", dest="spread", action="store_true", default=None, help="rather one replica a node")
    group.add_argument("--no-spread", dest="spread", action="store_false", help="no longer so")
    group.add_argument(
        "--abandon-volumes",
        dest="abandon_volumes",
        action="store_true",
        default=None,
        help="replicas leave their node without their data where they must, and begin with empty volumes",
    )
    group.add_argument("--keep-volumes", dest="abandon_volumes", action="store_false", help="no longer so")
    for flag, text in (
        ("--public", "only nodes with a public address"),
        ("--tunnel-only", "reached by the tunnel only"),
    ):
        group.add_argument(flag, action="store_true", default=None, help=text)


def _add_probe(parser: Parser, prefix: str, kind: str) -> None:
    effect = "restarts a replica" if kind == "liveness" else "decides whether a replica takes part"
    group = parser.add_argument_group(f"{kind} probe, which {effect}")
    group.add_argument(f"--{prefix}-http", metavar="PATH", help="GET this path")
    group.add_argument(
        f"--{prefix}-port", metavar="PORT", type=types.port_number, help="at this port [the only --port]"
    )
    group.add_argument(f"--{prefix}-tcp", metavar="PORT", type=types.port_number, help="connect to this port")
    group.add_argument(f"--{prefix}-exec", metavar="COMMAND", type=types.command, help="run this in the container")
    for word, read, text in (
        ("interval", types.some_seconds, "time between two probes [10s]"),
        ("timeout", types.some_seconds, "time for one [1s]"),
        ("start-period", types.seconds, "time at the start in which failures do not count [0s]"),
        ("threshold", types.count, "failures in a row that count [3]"),
    ):
        group.add_argument(f"--{prefix}-{word}", metavar="VALUE", type=read, help=text)
    if kind == "liveness":
        group.add_argument("--readiness", action="store_true", help="make the --health-* flags the readiness probe")


def add_clear(parser: Parser) -> None:
    """The flags that empty what was set."""
    group = parser.add_argument_group("emptying what was set")
    for field in CLEAR:
        group.add_argument(
            f"--clear-{field.replace('_', '-')}", action="store_true", help=f"no {field.replace('_', ' ')}"
        )
