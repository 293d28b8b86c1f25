"""A deployment gets another template: a new revision, or one it had before."""

from __future__ import annotations

from dataclasses import replace

from fledx.control_plane.changes import Transaction
from fledx.control_plane.replicas.placing import revise_board
from fledx.control_plane.rollout.state import begin
from fledx.control_plane.rollout_state import kept, stored_as
from fledx.control_plane.scheduler.filters import unknown_fields
from fledx.control_plane.scheduler.spec import spec_of
from fledx.control_plane.store import assignments, deployments, revisions
from fledx.control_plane.store.deployments import Stored
from fledx.errors import Conflict, NotFound
from fledx.models.codec import decode_lenient, encode
from fledx.models.deployment import DeploymentSpec
from fledx.models.ingress import IngressRule, settled_port
from fledx.models.permission import unknown_to_older
from fledx.models.port import container_ports
from fledx.models.template import Template, template_hash


def new_revision(tx: Transaction, stored: Stored, spec: DeploymentSpec, *, by: str) -> int:
    """
    Keep the spec's template as the next revision and begin its rollout; its number.

    Conflict when it has a field that the agent of one of its nodes does not know.
    """
    _refuse_older(tx, stored, spec)
    revision = revisions.newest(tx.sql, stored.id) + 1
    revisions.add(tx.sql, stored.id, revision, encode(spec), by, tx.stamp)
    if _same_containers(tx, stored, spec, revision):
        digest = revisions.digest_of(tx.sql, stored.id, stored.revision)
        revisions.set_digest(tx.sql, stored.id, revision, digest)
    revisions.supersede(tx.sql, stored.id, revision)
    served = stored.revision if stored.status == "running" else None
    deployments.set_rollout(tx.sql, stored.id, stored_as(begin(kept(stored), revision, tx.now, served=served)))
    return revision


def _refuse_older(tx: Transaction, stored: Stored, spec: DeploymentSpec) -> None:
    """An agent that does not know a field would run the container without it, and call that the revision."""
    if set(unknown_to_older(spec)) <= set(unknown_to_older(stored.spec)):
        return
    shape = spec_of(stored.id, spec).shape
    for given in assignments.of_deployment(tx.sql, stored.id):
        i = tx.board.index.get(given.node_id)
        if i is not None and (fault := unknown_fields(shape, tx.board.places[i].node)) is not None:
            raise Conflict(
                f"node {given.node} runs replica {given.replica_number} of {spec.name}, and {fault}",
                hint=f"upgrade it (`fledx bootstrap upgrade`), or drain it: `fledx nodes drain {given.node}`",
            )


def _still_clear(spec: DeploymentSpec, template: Template) -> list[IngressRule]:
    """The ingress rules as they go with another template: one that meant the only port means that one from now on."""
    if len(container_ports(template.ports or ())) == 1:
        return list(spec.ingress or ())
    return [replace(rule, port=settled_port(rule, spec.tcp_ports)) for rule in spec.ingress or ()]


def _same_containers(tx: Transaction, stored: Stored, spec: DeploymentSpec, revision: int) -> bool:
    """
    Whether a revision changes only what the agents do, such as its probes.

    Then its containers are those of the revision before, and so are the bytes of one that has to be made anew.
    """
    content = {revisions.content_of(tx.sql, stored.id, each) for each in (stored.revision, revision)}
    return len(content) == 1 and template_hash(encode(stored.spec)) == template_hash(encode(spec))


def go_back(tx: Transaction, stored: Stored, revision: int, *, why: str, by: str) -> Stored | None:
    """
    Make an earlier revision the deployment's own again; the replicas follow by the rollout.

    The caller stores the state of that rollout; it gets the deployment as it is then. NotFound when there is no such
    revision.
    """
    found = revisions.template(tx.sql, stored.id, revision)
    if found is None:
        raise NotFound(f"{stored.spec.name} has no revision {revision}")
    kept_fields = {key: value for key, value in encode(stored.spec).items() if key not in revisions.TEMPLATE_FIELDS}
    template = decode_lenient(Template, found)
    if kept_fields.get("ingress"):
        kept_fields["ingress"] = encode(_still_clear(stored.spec, template))
    spec = decode_lenient(DeploymentSpec, {**kept_fields, **found})
    revisions.supersede(tx.sql, stored.id, revision)
    deployments.update(tx.sql, stored.id, spec, generation=stored.generation + 1, revision=revision, now=tx.stamp)
    reason = f"back to revision {revision} by {by}: {why}"
    tx.event("deployment.rolled_back", spec.name, reason, deployment_id=stored.id)
    tx.touched.add(stored.id)
    tx.touched_nodes |= {given.node_id for given in assignments.of_deployment(tx.sql, stored.id)}
    fresh = deployments.by_id(tx.sql, stored.id)
    if fresh is not None:
        revise_board(tx, fresh)
    return fresh
