-- own_labels: what the operator laid over the labels that the node tells, as JSON; null takes one away
-- wish: models.node.Wish as JSON, who wanted the node cordoned or drained
-- former_token_hash: the token before the last rotation, good until the new one is used
ALTER TABLE node ADD COLUMN own_labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE node ADD COLUMN wish TEXT;
ALTER TABLE node ADD COLUMN former_token_hash BLOB;

-- former: whom the replica was taken from because that did not answer: node_id, fence and ports as JSON
ALTER TABLE assignment ADD COLUMN former TEXT;
