-- wanted: how many replicas a global deployment has and waits for; NULL for others
-- job: what is shown of a job beside its status (outcome, last_run, next_run as JSON); NULL for others
ALTER TABLE deployment ADD COLUMN wanted INTEGER;
ALTER TABLE deployment ADD COLUMN job TEXT;
CREATE INDEX deployment_wanted ON deployment (wanted) WHERE wanted IS NOT NULL;

-- replicas of jobs that have run to their end and are not to run again; run: models.job.JobRun as JSON, template: the
-- hash of what has run, node: what its node was called
CREATE TABLE finished (
    deployment_id TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
    replica_number INTEGER NOT NULL,
    template TEXT NOT NULL,
    node TEXT,
    run TEXT NOT NULL,
    PRIMARY KEY (deployment_id, replica_number)
) WITHOUT ROWID;
