"""A deployment's part of what gateways serve, as it is kept between two looks and as gateways are told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fledx.control_plane.ingress.draining import Offer
from fledx.models.codec import encode
from fledx.models.ingress import Backend, Endpoint, Route


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    A deployment's part of what gateways serve; ``ports`` are protocols by container port.

    ``awaited`` says that nobody is offered but what drains, though somebody is to come.
    """

    deployment: str
    routes: tuple[Route, ...] = ()
    ports: Mapping[str, str]
    offers: tuple[Offer, ...] = ()
    awaited: bool = False

    @classmethod
    def of(cls, body: str) -> Part:
        """Read what `text` wrote."""
        found = json.loads(body)
        return cls(
            deployment=found["deployment"],
            routes=tuple(Route(**route) for route in found["routes"]),
            ports=found["ports"],
            offers=tuple(_offer(each) for each in found["offers"]),
            awaited=found.get("awaited", False),
        )

    def text(self) -> str:
        """As it is stored."""
        return json.dumps(encode(self), separators=(",", ":"))

    def backends(self, deployment_id: str) -> tuple[Backend, ...]:
        """As gateways are told of it."""
        return tuple(
            Backend(
                name=backend_name(deployment_id, int(port)),
                deployment_id=deployment_id,
                deployment=self.deployment,
                port=int(port),
                protocol=protocol,
                endpoints=tuple(_endpoint(offer, port) for offer in self.offers),
                awaited=self.awaited,
            )
            for port, protocol in self.ports.items()
        )


def _offer(found: dict[str, Any]) -> Offer:
    addresses = {port: tuple(each) for port, each in found.pop("addresses").items()}
    return Offer(**found, addresses=addresses)


def _endpoint(offer: Offer, port: str) -> Endpoint:
    return Endpoint(
        replica_number=offer.replica_number,
        node_id=offer.node_id,
        fence=offer.fence,
        template=offer.template,
        draining=offer.draining_since is not None,
        addresses=offer.addresses.get(port, ()),
    )


def backend_name(deployment_id: str, port: int) -> str:
    """What gateways call the instances of a deployment at one container port."""
    return f"{deployment_id}-{port}"
