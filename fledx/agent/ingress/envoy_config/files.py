"""All files of one moment, in the order in which they must be written, and one file to check them by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fledx.agent.ingress.envoy_config.clusters import cluster_of, endpoints_file, endpoints_of
from fledx.agent.ingress.envoy_config.listeners import HTTP, HTTPS, listeners, secret_file, shown_for
from fledx.agent.ingress.envoy_config.routes import route_table
from fledx.agent.ingress.envoy_config.secrets import secret_of
from fledx.agent.ingress.envoy_config.shapes import Front, Json, Served, word
from fledx.models.ingress import GatewayCertificate

OTHER_WATCHES = 10
"""Files that Envoy watches beside those of clusters and certificates, with some to spare."""


@dataclass(frozen=True, kw_only=True)
class EnvoyFile:
    """
    One file; ``version`` follows from its content, ``statistic`` is where Envoy shows the version it has taken over.

    ``endpoints`` marks the files that change without anything else.
    """

    name: str
    version: str
    statistic: str
    body: bytes = field(repr=False)
    endpoints: bool = False


def fits_watches(served: Served, most: int) -> bool:
    """Whether each cluster may have its endpoints in a file of its own, where Envoy may watch so many files."""
    return len(served.clusters) + len(served.certificates) + OTHER_WATCHES <= most


def files_of(served: Served, front: Front, *, inline: bool) -> list[EnvoyFile]:
    """In the order of writing: a file must be there before something names it, else Envoy refuses that something."""
    found = []
    if not inline:
        for cluster in served.clusters:
            statistic = f"cluster.{cluster.name}.version_text"
            found.append(_file(endpoints_file(cluster), statistic, [endpoints_of(cluster)], endpoints=True))
    clusters = [cluster_of(each, front, inline=inline) for each in served.clusters]
    found.append(_file("cds.json", "cluster_manager.cds.version_text", clusters))
    for certificate in shown_certificates(served, front):
        statistic = f"sds.{word(certificate.name)}.version_text"
        found.append(_file(secret_file(certificate), statistic, [secret_of(certificate)]))
    heard = listeners(front, served.certificates)
    for table in (HTTP, HTTPS)[: len(heard)]:
        found.append(
            _file(f"rds-{table}.json", f"http.{table}.rds.{table}.version_text", [_table(table, served, front)])
        )
    found.append(_file("lds.json", "listener_manager.lds.version_text", heard))
    return found


def shown_certificates(served: Served, front: Front) -> list[GatewayCertificate]:
    """Those that a listener names."""
    return [each for each, _ in shown_for(served.certificates)] if front.https_port is not None else []


def structure_of(served: Served, front: Front, *, inline: bool) -> str:
    """
    Names all that is checked before it is written.

    Everything but endpoints: whatever these are, nothing else can be hurt.
    """
    bare = replace(served, clusters=tuple(replace(each, targets=()) for each in served.clusters))
    files = files_of(bare, front, inline=inline)
    return _digest("\n".join(f"{file.name} {file.version}" for file in files if not file.endpoints))


def flattened(bootstrap: Mapping[str, object], served: Served, front: Front) -> bytes:
    """One file that has all in itself: `--mode validate` reads no other."""
    heard = [_flat(each, served, front) for each in listeners(front, served.certificates)]
    clusters = [_static(cluster_of(replace(each, targets=()), front, inline=True)) for each in served.clusters]
    kept = {key: value for key, value in bootstrap.items() if key not in ("dynamic_resources", "admin")}
    return _packed({**kept, "static_resources": {"listeners": heard, "clusters": clusters}})


def _table(table: str, served: Served, front: Front) -> Json:
    protocols = {cluster.name: cluster.protocol for cluster in served.clusters}
    return route_table(table, front, served.routes, protocols, served.certificates)


def _flat(listener: Json, served: Served, front: Front) -> Json:
    """A listener with its routes and certificates inside; no port is bound by checking it."""
    secrets = {secret["name"]: secret for secret in map(secret_of, served.certificates)}
    chains = []
    for chain in listener["filter_chains"]:
        (speaking,) = chain["filters"]
        config = {key: value for key, value in speaking["typed_config"].items() if key != "rds"}
        config["route_config"] = {**_table(str(listener["name"]), served, front), "validate_clusters": True}
        config["route_config"].pop("@type")
        flat = {**chain, "filters": [{**speaking, "typed_config": config}]}
        if "transport_socket" in chain:
            flat["transport_socket"] = _with_certificate(chain["transport_socket"], secrets)
        chains.append(flat)
    return _static({**listener, "filter_chains": chains})


def _with_certificate(socket: Json, secrets: Mapping[str, Json]) -> Json:
    config = socket["typed_config"]
    context = dict(config["common_tls_context"])
    names = [each["name"] for each in context.pop("tls_certificate_sds_secret_configs")]
    context["tls_certificates"] = [secrets[name]["tls_certificate"] for name in names]
    return {**socket, "typed_config": {**config, "common_tls_context": context}}


def _static(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key != "@type"}


def _file(name: str, statistic: str, found: Sequence[Json], *, endpoints: bool = False) -> EnvoyFile:
    version = _digest(_packed(found).decode())
    body = _packed({"version_info": version, "resources": found})
    return EnvoyFile(name=name, version=version, statistic=statistic, body=body, endpoints=endpoints)


def _packed(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
