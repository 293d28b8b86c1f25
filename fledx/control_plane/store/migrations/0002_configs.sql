-- The counter 'content' rises with every change of a config, an attachment or a secret. since and until are values of
-- it (until NULL: still so), so that a revision sees everything as it was when the revision was made.
INSERT INTO counter VALUES ('content', 0);

CREATE TABLE config (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;

-- body: entries and files of models.config.ConfigSpec as JSON
CREATE TABLE config_version (
    config_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (config_id, since)
) WITHOUT ROWID;

-- kind: deployment or node
CREATE TABLE config_use (
    kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    config_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    attached_at TEXT NOT NULL,
    PRIMARY KEY (kind, target_id, config_id, since)
) WITHOUT ROWID;
CREATE INDEX config_use_config ON config_use (config_id);
CREATE TRIGGER config_use_of_deployment AFTER DELETE ON deployment BEGIN
    DELETE FROM config_use WHERE kind = 'deployment' AND target_id = OLD.id;
END;
CREATE TRIGGER config_use_of_node AFTER DELETE ON node BEGIN
    DELETE FROM config_use WHERE kind = 'node' AND target_id = OLD.id;
END;

CREATE TABLE secret (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;

-- sealed: sealing.Seal over the value; digest: its mark, by which a container that has another value is known
CREATE TABLE secret_version (
    name TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (name, since)
) WITHOUT ROWID;

-- content: where the counter stood when a revision was made, and when a replica came to its node
ALTER TABLE revision ADD COLUMN content INTEGER NOT NULL DEFAULT 0;
ALTER TABLE assignment ADD COLUMN content INTEGER NOT NULL DEFAULT 0;
