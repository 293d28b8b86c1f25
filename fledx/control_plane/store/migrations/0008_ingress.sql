-- which deployment serves a host and path; path_type: prefix or exact
CREATE TABLE ingress_claim (
    host TEXT NOT NULL,
    path_type TEXT NOT NULL,
    path TEXT NOT NULL,
    deployment_id TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
    PRIMARY KEY (host, path_type, path)
) WITHOUT ROWID;
CREATE INDEX ingress_claim_deployment ON ingress_claim (deployment_id);

-- A deployment's part of what gateways serve (control_plane.offer.Part as JSON); it outlives the deployment until its
-- last endpoint is drained. marks: by gateway's node id, the desired revision at which the part last changed for it.
-- passing: 1 while an endpoint is on its way out or not known to be live, found by the index without a scan
CREATE TABLE ingress_part (
    deployment_id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    marks TEXT NOT NULL DEFAULT '{}',
    passing INTEGER
) WITHOUT ROWID;
CREATE INDEX ingress_part_passing ON ingress_part (deployment_id) WHERE passing IS NOT NULL;

CREATE INDEX node_gateway ON node (id) WHERE json_extract(facts, '$.gateway') IS NOT NULL;

-- sealed: sealing.Seal over the private key; hosts: those of the certificate as a JSON list; warned: 1 once its end
-- has been told
CREATE TABLE certificate (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    version INTEGER NOT NULL,
    chain TEXT NOT NULL,
    sealed BLOB NOT NULL,
    hosts TEXT NOT NULL,
    issuer TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    not_before TEXT NOT NULL,
    not_after TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    warned INTEGER
) WITHOUT ROWID;
