-- Where the data of replicas lies. name: what the node's engine calls it; volume: what the spec calls it.
-- state: current (the replica's own), former (what a restore has replaced), left (nobody's: its deployment is gone or its
-- replica has moved), dropped (the node is to delete it). A deployment of the same name takes over what was left.
CREATE TABLE volume (
    node_id TEXT NOT NULL REFERENCES node ON DELETE CASCADE,
    name TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    replica_number INTEGER NOT NULL,
    volume TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (node_id, name)
) WITHOUT ROWID;
CREATE INDEX volume_deployment ON volume (deployment_id, replica_number);
