"""Decoding and its faults by path, schedules, YAML, TOML, MessagePack and metrics."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass

import argcomplete.shell_integration
import cattrs
import h11
import msgpack
import prometheus_client
import tomli
import yaml
from croniter import croniter


@dataclass(frozen=True)
class Port:
    """One field is enough to be wrong."""

    number: int


converter = cattrs.Converter()
assert converter.structure({"number": 80}, Port) == Port(80)
faults = []
try:
    converter.structure({"number": "eighty"}, Port)
except cattrs.ClassValidationError as problem:
    faults = cattrs.transform_error(problem)
assert faults == ["invalid value for type, expected int @ $.number"]
summer = datetime.datetime(2026, 3, 28, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
assert croniter("30 3 * * *", summer).get_next(datetime.datetime).isoformat() == "2026-03-29T03:30:00+02:00"
assert yaml.safe_load(yaml.safe_dump({"a": [1, "two"]})) == {"a": [1, "two"]}
assert tomli.loads("a = 1") == {"a": 1}
assert msgpack.unpackb(msgpack.packb({"a": [1, b"2"]})) == {"a": [1, b"2"]}
assert b"python_info" in prometheus_client.generate_latest()
assert h11.Connection(h11.SERVER).their_state is h11.IDLE
assert "complete" in argcomplete.shell_integration.shellcode(["fledx"], shell="bash")
