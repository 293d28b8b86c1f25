-- extra: 1 for a replica beyond the wanted number, which an update started first; found by the index without a scan
ALTER TABLE assignment ADD COLUMN extra INTEGER;
CREATE INDEX assignment_passing ON assignment (deployment_id) WHERE extra IS NOT NULL OR leaving IS NOT NULL;
