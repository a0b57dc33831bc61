-- Commands that are routed, depend on each other or exclude each other; dead letters; an order that operators may change.

ALTER TABLE operation ADD COLUMN urgency INTEGER NOT NULL DEFAULT 0;  -- its class of order; of those that wait, by the mode
ALTER TABLE operation ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;  -- its place within that class, before age
ALTER TABLE operation ADD COLUMN reach INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operation ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;  -- how many things must happen first
ALTER TABLE operation ADD COLUMN parent_id TEXT;
ALTER TABLE operation ADD COLUMN conflict_key TEXT;
ALTER TABLE operation ADD COLUMN discarded_at INTEGER;

UPDATE operation SET urgency = priority;
UPDATE operation SET reach = 1 WHERE request_type = 'EMERGENCY';

CREATE TABLE dependency (
    request_id TEXT NOT NULL,
    depends_on TEXT NOT NULL,  -- must be COMPLETED first
    PRIMARY KEY (request_id, depends_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_dependents ON dependency (depends_on);

DROP INDEX operation_due;
CREATE INDEX operation_due
    ON operation (carrier, is_proxy, resumes DESC, urgency DESC, rank, created_at, request_id)
    WHERE status = 'QUEUED';
DROP INDEX operation_emergency;
CREATE INDEX operation_reach
    ON operation (carrier, reach, is_proxy, resumes DESC, urgency DESC, rank, created_at, request_id)
    WHERE status = 'QUEUED' AND reach > 0;
DROP INDEX operation_sequence;  -- the writer knows by heart which numbers are held
DROP INDEX operation_partner;
CREATE INDEX operation_children ON operation (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX operation_conflicts ON operation (target_component, conflict_key)
    WHERE status IN ('QUEUED', 'PROCESSING') AND conflict_key IS NOT NULL;
CREATE INDEX operation_dead ON operation (finished_at)
    WHERE status IN ('FAILED', 'ABANDONED') AND discarded_at IS NULL;

-- A routed parent has no carrier: nobody speaks to it, and any number may be PROCESSING.
DROP INDEX operation_processing;
CREATE UNIQUE INDEX operation_processing ON operation (target_component) WHERE status = 'PROCESSING' AND carrier != '';
CREATE INDEX operation_routing ON operation (request_id) WHERE status = 'PROCESSING' AND carrier = '';
