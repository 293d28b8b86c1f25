"""What a tag stands for in a revision: the first node that finds out says it, and the others pull the same bytes."""

from __future__ import annotations

from fledx.control_plane.changes import Changes, Transaction
from fledx.control_plane.store import assignments, deployments, nodes, revisions
from fledx.errors import InvalidSpec
from fledx.models.check import shown
from fledx.models.image import DIGEST, by_digest, digest_in


class Pins:
    """Takes what nodes have found out."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def claim(self, node_id: str, deployment_id: str, revision: int, digest: str) -> None:
        """
        Keep the digest for the revision unless there is one, and tell every node that runs a replica of it.

        A node speaks only of what it is to run itself; of anything else its word is passed over. The one that lost the
        race hears the answer of the other, too.
        """
        if DIGEST.fullmatch(digest) is None:
            raise InvalidSpec("digest", f"{shown(digest)} is not a digest")
        await self._changes.commit(lambda tx: _claim(tx, node_id, deployment_id, revision, digest))


def _claim(tx: Transaction, node_id: str, deployment_id: str, revision: int, digest: str) -> None:
    owners = [given for given in assignments.of_deployment(tx.sql, deployment_id) if given.revision == revision]
    stored, node = deployments.by_id(tx.sql, deployment_id), nodes.by_id(tx.sql, node_id)
    template = revisions.template(tx.sql, deployment_id, revision)
    if stored is None or node is None or template is None or node_id not in {given.node_id for given in owners}:
        return
    if digest_in(template["image"]) or revisions.digest_of(tx.sql, deployment_id, revision) is not None:
        return
    revisions.set_digest(tx.sql, deployment_id, revision, digest)
    reason = f"revision {revision} is {by_digest(template['image'], digest)}, as node {node['name']} found"
    tx.event("deployment.pinned", stored.spec.name, reason, deployment_id=deployment_id, node_id=node_id)
    tx.touched.add(deployment_id)
    tx.touched_nodes |= {given.node_id for given in owners}
