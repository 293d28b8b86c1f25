-- Every create writes five events: what is no node's, or no deployment's, need not stand in their indexes; and the
-- hourly look for old ones may read them all, which is cheaper than an index that each of them is written to.
DROP INDEX event_at;
DROP INDEX event_node;
DROP INDEX event_deployment;
CREATE INDEX event_node ON event (node_id, id) WHERE node_id IS NOT NULL;
CREATE INDEX event_deployment ON event (deployment_id, id) WHERE deployment_id IS NOT NULL;
-- Each transaction asks who is away: few, among thousands.
CREATE INDEX node_away ON node (id) WHERE status = 'unreachable';
CREATE INDEX node_draining ON node (id) WHERE availability = 'draining';
