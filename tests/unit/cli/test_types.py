"""Values as people write them on a command line."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest

from fledx.cli import types


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (types.cpu, "500m", 500),
        (types.cpu, "1.5", 1500),
        (types.cpu, "2", 2000),
        (types.cpu, "0.001", 1),
        (types.millis, "250", 250),
        (types.millis, "250m", 250),
        (types.memory, "512Mi", 512 * 2**20),
        (types.memory, "1.5Gi", 1536 * 2**20),
        (types.memory, "64MiB", 64 * 2**20),
        (types.memory, "500M", 500 * 10**6),
        (types.memory, "500mb", 500 * 10**6),
        (types.memory, "8589934592", 8589934592),
        (types.seconds, "30", 30.0),
        (types.seconds, "30s", 30.0),
        (types.seconds, "2h", 7200.0),
        (types.seconds, "500ms", 0.5),
        (types.seconds, "0", 0.0),
        (types.pair, "A=b=c", ("A", "b=c")),
        (types.pair, "A=", ("A", "")),
        (types.moment, "10m", "10m"),
        (types.moment, "90", "90s"),
        (types.moment, "2026-11-25", "2026-11-25T00:00:00Z"),
        (types.moment, "2026-11-25T19:00:00Z", "2026-11-25T19:00:00Z"),
        (types.moment, "2026-11-25T19:00:00.123456789+01:00", "2026-11-25T19:00:00.123456789+01:00"),
        (types.command, "sh -c 'echo a b'", ["sh", "-c", "echo a b"]),
        (types.replicas_of, "web=3", ("web", 3)),
        (types.port, "80", {"container_port": 80, "protocol": "tcp"}),
        (types.port, ":80", {"container_port": 80, "protocol": "tcp"}),
        (types.port, "AUTO:53/UDP", {"container_port": 53, "protocol": "udp"}),
        (types.port, "8080:80,expose", {"container_port": 80, "host_port": 8080, "protocol": "tcp", "expose": True}),
        (
            types.port,
            "127.0.0.1:8080:80/udp",
            {"container_port": 80, "host_port": 8080, "protocol": "udp", "host_ip": "127.0.0.1"},
        ),
        (types.port, "[::1]:auto:80", {"container_port": 80, "protocol": "tcp", "host_ip": "::1"}),
        (types.volume, "/a:/b:ro", {"host_path": "/a", "container_path": "/b", "read_only": True}),
        (types.volume, "/a:/b:rw", {"host_path": "/a", "container_path": "/b", "read_only": False}),
        (types.volume, "/a:/b", {"host_path": "/a", "container_path": "/b"}),
        (types.secret_env, "TOKEN=api", {"name": "TOKEN", "secret": "api"}),
        (types.optional(types.secret_file), "/run/t=api", {"path": "/run/t", "secret": "api", "optional": True}),
    ],
)
def test_a_word_is_read(read: Callable[[str], Any], text: str, value: Any) -> None:
    assert value == read(text)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (types.count, "0"),
        (types.count, "-1"),
        (types.count, "٣"),
        (types.whole, "1" * 30),
        (types.cpu, "0"),
        (types.cpu, "nan"),
        (types.cpu, "inf"),
        (types.cpu, "500Mi"),
        (types.millis, "1.5"),
        (types.memory, "512Xi"),
        (types.memory, "0"),
        (types.memory, ""),
        (types.seconds, "soon"),
        (types.seconds, "-1s"),
        (types.some_seconds, "0"),
        (types.pair, "=b"),
        (types.pair, "ab"),
        (types.moment, "yesterday"),
        (types.command, "sh 'unfinished"),
        (types.command, "  "),
        (types.port_number, "0"),
        (types.port_number, "65536"),
        (types.port, "80/sctp"),
        (types.port, "0"),
        (types.port, "1:2:3:4"),
        (types.port, "80,what"),
        (types.volume, "./relative:/b"),
        (types.tmpfs, "tmp"),
        (types.tmpfs, "/tmp:size=much"),
        (types.ulimit, "nofile"),
        (types.ulimit, "files=1"),
        (types.device, "/etc/passwd"),
        (types.device, "/dev/null:/dev/x:rwx"),
        (types.volume, "/a:/b:maybe"),
        (types.secret_env, "TOKEN=with space"),
        (types.secret_file, "relative=api"),
        (types.replicas_of, "web=0"),
    ],
)
def test_a_word_that_makes_no_sense_is_refused_with_a_sentence(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r".{10,}"):
        read(text)
