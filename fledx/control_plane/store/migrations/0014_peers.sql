-- Few deployments name others that they must be near or apart from, and each that gets a place asks who they are.
CREATE INDEX deployment_peers ON deployment (id)
    WHERE coalesce(json_extract(spec, '$.placement.near'), json_extract(spec, '$.placement.apart')) IS NOT NULL;
