-- counters: 'fence' numbers owners of replica slots, 'board' rises with every change the scheduler must know of
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counter VALUES ('fence', 0), ('board', 0);

-- facts: what the node told of itself (models.node.NodeFacts as JSON); seen: unix seconds of its last sign of life
CREATE TABLE node (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    host_key TEXT,
    token_hash BLOB NOT NULL,
    status TEXT NOT NULL,
    availability TEXT NOT NULL DEFAULT 'active',
    since TEXT NOT NULL,
    reason TEXT,
    facts TEXT NOT NULL,
    address TEXT,
    seen INTEGER,
    desired_revision INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX node_host_key ON node (host_key);

-- uses: how often it may still register a node, NULL is any number
CREATE TABLE join_token (
    id TEXT PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    uses INTEGER
) WITHOUT ROWID;

-- spec: models.deployment.DeploymentSpec as JSON; rollout: the state of the current revision's rollout as JSON;
-- status, reason, ready: derived from assignments and instances whenever those change, kept for filters and counts
CREATE TABLE deployment (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    spec TEXT NOT NULL,
    generation INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    ready INTEGER NOT NULL DEFAULT 0,
    rollout TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;

-- template: models.template.Template as JSON
CREATE TABLE revision (
    deployment_id TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    template TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (deployment_id, revision)
) WITHOUT ROWID;

-- ports: host ports reserved on that node (models.port.PortMapping as a JSON list)
CREATE TABLE assignment (
    deployment_id TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
    replica_number INTEGER NOT NULL,
    node_id TEXT NOT NULL REFERENCES node (id),
    fence INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    ports TEXT NOT NULL,
    PRIMARY KEY (deployment_id, replica_number)
) WITHOUT ROWID;
CREATE INDEX assignment_node ON assignment (node_id);

-- replicas without a place, each with its reason
CREATE TABLE pending (
    deployment_id TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
    replica_number INTEGER NOT NULL,
    reason TEXT NOT NULL,
    since TEXT NOT NULL,
    PRIMARY KEY (deployment_id, replica_number)
) WITHOUT ROWID;

-- body: models.instance.Instance as JSON; ready_since: unix seconds since when it has been ready without a break
CREATE TABLE instance (
    node_id TEXT NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    deployment_id TEXT NOT NULL,
    replica_number INTEGER NOT NULL,
    body TEXT NOT NULL,
    ready_since INTEGER,
    PRIMARY KEY (node_id, deployment_id, replica_number)
) WITHOUT ROWID;
CREATE INDEX instance_deployment ON instance (deployment_id, replica_number);

CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    deployment_id TEXT,
    replica_number INTEGER,
    node_id TEXT
);
CREATE INDEX event_deployment ON event (deployment_id, id);
CREATE INDEX event_node ON event (node_id, id);
CREATE INDEX event_at ON event (at);

-- averages of minutes; bucket_start: unix seconds of the minute's beginning
CREATE TABLE usage (
    deployment_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    replica_number INTEGER NOT NULL,
    bucket_start INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    cpu_percent REAL NOT NULL,
    memory_bytes REAL NOT NULL,
    network_rx_bytes REAL NOT NULL,
    network_tx_bytes REAL NOT NULL,
    blk_read_bytes REAL NOT NULL,
    blk_write_bytes REAL NOT NULL,
    PRIMARY KEY (deployment_id, node_id, replica_number, bucket_start)
) WITHOUT ROWID;
CREATE INDEX usage_bucket ON usage (bucket_start);

-- answers of creates that carried an Idempotency-Key, so that a retry has one effect
CREATE TABLE idempotency (
    key TEXT NOT NULL,
    operator TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (operator, key)
) WITHOUT ROWID;
