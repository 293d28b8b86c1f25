-- outcome: what became of the revision's rollout (complete, paused, failed, rolled_back, superseded), NULL while it is on
-- its way; reason: why it was no good
ALTER TABLE revision ADD COLUMN outcome TEXT;
ALTER TABLE revision ADD COLUMN reason TEXT;
