-- operators' tokens; those of the settings are not here
CREATE TABLE operator_token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL COLLATE NOCASE,
    token_hash BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX operator_token_name ON operator_token (name) WHERE revoked_at IS NULL;

-- body: models.audit.AuditEntry as JSON; digest: a keyed hash over the digest of the line before and this body.
-- Filters read the body itself, as a column beside it could be changed without breaking the chain.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    digest BLOB NOT NULL
);
CREATE INDEX audit_at ON audit (json_extract(body, '$.created_at'));
CREATE INDEX audit_resource ON audit (json_extract(body, '$.resource_id'));

-- 'start': the line before the oldest that is kept; 'end': the newest; mark: a keyed hash over name, number and digest
CREATE TABLE audit_bound (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    mark BLOB NOT NULL
) WITHOUT ROWID;
