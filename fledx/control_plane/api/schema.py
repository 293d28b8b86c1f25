"""JSON Schema of the models, from their own type hints and the constants by which they check themselves."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from fledx.models import check, config, health, node, port, template
from fledx.models.assignment import Assignment
from fledx.models.config import ConfigEntry, ConfigSpec
from fledx.models.deployment import (
    DESIRED_STATES,
    MAX_REPLICAS,
    RETURNS,
    STATUSES,
    Deployment,
    DeploymentSpec,
    ReschedulePolicy,
    UpdatePolicy,
)
from fledx.models.event import LogLine
from fledx.models.health import HealthProbe
from fledx.models.instance import STATES, Instance
from fledx.models.node import Capacity, Node
from fledx.models.port import PortMapping
from fledx.models.template import Limits, Template

SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
MOMENTS = frozenset(
    (
        *("at", "created_at", "expires_at", "last_checked_at", "last_reported", "last_seen", "last_updated", "since"),
        *("started_at", "time", "updated_at"),
    )
)
PORT = {"minimum": 1, "maximum": 65535}
DAY = {"minimum": 0, "maximum": 86400}
COUNT = {"minimum": 0}
POSITIVE = {"exclusiveMinimum": 0, "maximum": 86400}

#: What a type does not say, for the class that declares the field and those made from it.
MORE: Mapping[tuple[type, str], Mapping[str, Any]] = {
    (Assignment, "replica_number"): COUNT,
    (Capacity, "cpu_millis"): {"minimum": 1},
    (Capacity, "memory_bytes"): {"minimum": 1},
    (ConfigEntry, "value"): {"maxLength": config.MAX_VALUE_BYTES},
    (ConfigSpec, "name"): {"pattern": f"^{check.NAME.pattern}$"},
    (ConfigSpec, "version"): {"minimum": 1},
    (Deployment, "status"): {"enum": list(STATUSES)},
    (DeploymentSpec, "desired_state"): {"enum": list(DESIRED_STATES)},
    (DeploymentSpec, "name"): {"pattern": f"^({check.NAME.pattern})?$"},
    (DeploymentSpec, "replicas"): {"minimum": 1, "maximum": MAX_REPLICAS},
    (HealthProbe, "failure_threshold"): POSITIVE,
    (HealthProbe, "interval_seconds"): POSITIVE,
    (HealthProbe, "port"): PORT,
    (HealthProbe, "start_period_seconds"): DAY,
    (HealthProbe, "timeout_seconds"): POSITIVE,
    (HealthProbe, "type"): {"enum": list(health.KINDS)},
    (Instance, "replica_number"): COUNT,
    (Instance, "state"): {"enum": list(STATES)},
    (Limits, "cpu_millis"): {"minimum": 1},
    (Limits, "memory_bytes"): {"minimum": 6 * 1024 * 1024},
    (Limits, "pids"): {"minimum": 1},
    (LogLine, "stream"): {"enum": ["stdout", "stderr"]},
    (Node, "availability"): {"enum": list(node.AVAILABILITIES)},
    (Node, "status"): {"enum": list(node.STATUSES)},
    (PortMapping, "container_port"): PORT,
    (PortMapping, "host_port"): PORT,
    (PortMapping, "protocol"): {"enum": list(port.PROTOCOLS)},
    (Template, "image"): {"minLength": 1, "maxLength": check.MAX_FIELD_BYTES},
    (Template, "restart"): {"enum": list(template.RESTART_POLICIES)},
    (Template, "stop_grace_seconds"): DAY,
    (ReschedulePolicy, "after_seconds"): {"minimum": 0, "maximum": 86400 * 365},
    (ReschedulePolicy, "on_return"): {"enum": list(RETURNS)},
    (UpdatePolicy, "max_surge"): {"minimum": 0, "maximum": MAX_REPLICAS},
    (UpdatePolicy, "max_unavailable"): {"minimum": 0},
    (UpdatePolicy, "min_healthy_seconds"): DAY,
    (UpdatePolicy, "on_failure"): {"enum": ["rollback", "pause"]},
    (UpdatePolicy, "progress_deadline_seconds"): DAY,
    (UpdatePolicy, "watch_seconds"): DAY,
}


class Schemas:
    """Makes schemas; those of models are kept in `components` and referred to by name."""

    def __init__(self) -> None:
        self.components: dict[str, dict[str, Any]] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type as it stands in a model."""
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._model(kind)
        if kind in SCALARS:
            return {"type": SCALARS[kind]}
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self._optional([each for each in arguments if each is not types.NoneType])
        if origin is tuple and arguments[1:] == (...,):
            return {"type": "array", "items": self.of(arguments[0])}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        return {}

    def _optional(self, kinds: list[Any]) -> dict[str, Any]:
        found = [self.of(kind) for kind in kinds]
        if len(found) == 1 and isinstance(found[0].get("type"), str):
            return {**found[0], "type": [found[0]["type"], "null"]}
        return {"anyOf": [*found, {"type": "null"}]}

    def _model(self, kind: type) -> dict[str, Any]:
        if kind.__name__ not in self.components:
            self.components[kind.__name__] = {}  # stands already when a model holds itself
            self.components[kind.__name__] = self._object(kind)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}

    def _object(self, kind: Any) -> dict[str, Any]:
        hints = get_type_hints(kind)
        properties, required = {}, []
        for field in dataclasses.fields(kind):
            properties[field.name] = self._field(kind, field, hints[field.name])
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                required.append(field.name)
        found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            found["required"] = required
        return {"description": inspect.getdoc(kind) or kind.__name__, **found}

    def _field(self, kind: type, field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
        found = self.of(hint)
        for each in kind.__mro__:
            found = {**found, **MORE.get((each, field.name), {})}
        if "enum" in found and isinstance(found.get("type"), list):
            found["enum"] = [*found["enum"], None]
        if field.name in MOMENTS:
            found["format"] = "date-time"
        if type(field.default) in SCALARS:
            found["default"] = field.default
        return found

    def changes(self, kind: type) -> dict[str, Any]:
        """The schema of a PATCH: any of the model's fields, and null for one that is to stay as it is."""
        self._model(kind)
        whole = self.components[kind.__name__]
        properties = {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in whole["properties"].items()}
        found = {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}
        self.components[f"{kind.__name__}Changes"] = found
        return {"$ref": f"#/components/schemas/{kind.__name__}Changes"}

    def page(self, kind: type) -> dict[str, Any]:
        """The schema of a list's page."""
        counts = {name: {"type": "integer", "minimum": 0} for name in ("limit", "offset", "total")}
        items = {"type": "array", "items": self.of(kind)}
        found = {"type": "object", "properties": {**counts, "items": items}, "required": [*counts, "items"]}
        self.components[f"{kind.__name__}Page"] = found
        return {"$ref": f"#/components/schemas/{kind.__name__}Page"}
