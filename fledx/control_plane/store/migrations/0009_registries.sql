-- sealed: sealing.Seal over the password
CREATE TABLE registry (
    host TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
-- digest: what the image's tag stands for in this revision, once a node has found out
ALTER TABLE revision ADD COLUMN digest TEXT;
