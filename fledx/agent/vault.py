"""How secrets lie in the stored state: sealed with a key that lies elsewhere, or not at all."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fledx import sealing
from fledx.errors import FledxError, InvalidSpec
from fledx.models.codec import decode_lenient, encode
from fledx.models.desired import NodeDesiredState, ReplicaDesired
from fledx.models.ingress import GatewayCertificate
from fledx.models.registry import RegistryLogin
from fledx.models.secret import SecretValue

logger = logging.getLogger(__name__)
REGISTRIES, GATEWAY = "registries", "certificates"
"""Where logins and certificates lie among the sealed values; those of a replica lie under `ID/NUMBER`."""


class Vault:
    """
    Takes the secrets out of a state before it is written and puts them back when it is read.

    The key is made in `key` (the configuration directory, which no backup of the data holds) with the first secret.
    `unsealed` writes them in clear where sealing is not possible: the operator's choice for machines without
    `cryptography`. Otherwise such a node has no secrets of the control plane's.
    """

    def __init__(self, key: Path, *, unsealed: bool = False, possible: Callable[[], bool] = sealing.possible) -> None:
        self._key = key
        self._unsealed = unsealed
        self._possible = possible
        self._seal: sealing.Seal | None = None

    def admit(self, state: NodeDesiredState, before: NodeDesiredState | None) -> NodeDesiredState:
        """
        The state as this node may have it.

        Without secrets where these cannot be kept. A control plane that lost its key sends none: then those that a
        replica had stay, as long as they are meant to be the same.
        """
        had = {replica.key: replica for replica in before.replicas} if before else {}
        replicas = tuple(_with_old(replica, had.get(replica.key)) for replica in state.replicas)
        admitted = replace(state, replicas=replicas)
        return admitted if not _values(admitted) or self._can_keep() else _bare(admitted)

    def _can_keep(self) -> bool:
        """Whether there is a key to seal with, or the operator does without."""
        try:
            self._opened()
        except FledxError as problem:
            if not self._unsealed:
                logger.error("the control plane's secrets are not kept", extra={"reason": problem.text})
            return self._unsealed
        return True

    def packed(self, state: NodeDesiredState) -> bytes:
        """As it is written, once it was admitted."""
        values = _values(state)
        if not values or self._seal is None:
            return _json(encode(state))
        sealed = self._seal.seal(_json(values), _context(state.node_id))
        return _json({**encode(_bare(state)), "sealed": base64.b64encode(sealed).decode("ascii")})

    def unpacked(self, stored: Mapping[str, Any]) -> NodeDesiredState:
        """As it was; without its secrets, which the log tells, when the key is another or lost."""
        state = decode_lenient(NodeDesiredState, stored)
        if not isinstance(stored.get("sealed"), str):
            return state
        try:
            raw = self._opened().unseal(base64.b64decode(stored["sealed"]), _context(state.node_id))
        except (FledxError, ValueError) as problem:
            logger.error("the secrets in the stored state cannot be opened", extra={"reason": str(problem)})
            return state
        values = json.loads(raw)
        logins = tuple(decode_lenient(RegistryLogin, each) for each in values.get(REGISTRIES, ()))
        gateway = state.gateway
        if gateway is not None:
            found = tuple(decode_lenient(GatewayCertificate, each) for each in values.get(GATEWAY, ()))
            gateway = replace(gateway, certificates=found)
        replicas = tuple(_filled(replica, values) for replica in state.replicas)
        return replace(state, replicas=replicas, registries=logins, gateway=gateway)

    def _opened(self) -> sealing.Seal:
        """The key, made if there is none; InvalidSpec when it cannot be had."""
        if self._seal is None:
            if not self._possible():
                raise InvalidSpec("", "this machine cannot seal them, as it has no `cryptography`")
            try:
                self._key.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            except OSError as problem:
                raise InvalidSpec("key", f"{self._key.parent} cannot be made: {problem.strerror}") from None
            self._seal, _ = sealing.kept(self._key)
        return self._seal


def _values(state: NodeDesiredState) -> dict[str, Any]:
    """All that is to be sealed, encoded, by the replica it is for."""
    values = {_word(replica): encode(replica.secrets) for replica in state.replicas if replica.secrets}
    if state.gateway is not None and state.gateway.certificates:
        values[GATEWAY] = encode(state.gateway.certificates)
    return values | ({REGISTRIES: encode(state.registries)} if state.registries else {})


def _bare(state: NodeDesiredState) -> NodeDesiredState:
    """The state without that."""
    gateway = replace(state.gateway, certificates=()) if state.gateway is not None else None
    replicas = tuple(replace(replica, secrets=()) for replica in state.replicas)
    return replace(state, replicas=replicas, registries=(), gateway=gateway)


def _with_old(replica: ReplicaDesired, old: ReplicaDesired | None) -> ReplicaDesired:
    lost = replica.secrets_digest is not None and not replica.secrets
    if lost and old is not None and old.secrets_digest == replica.secrets_digest:
        return replace(replica, secrets=old.secrets)
    return replica


def _filled(replica: ReplicaDesired, values: Mapping[str, Any]) -> ReplicaDesired:
    found = tuple(decode_lenient(SecretValue, each) for each in values.get(_word(replica), ()))
    return replace(replica, secrets=found) if found else replica


def _word(replica: ReplicaDesired) -> str:
    return f"{replica.deployment_id}/{replica.replica_number}"


def _context(node_id: str) -> str:
    return f"state of node {node_id}"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
