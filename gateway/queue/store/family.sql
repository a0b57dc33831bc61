-- What ties operations to each other: dependencies, families, conflicts.
-- A row of `dependency` stands as long as it holds its operation back; `blocked` is the number of such rows. A child that
-- its own family holds back, behind a barrier or an earlier target, waits for its parent.

-- name: add_dependency
INSERT INTO dependency (request_id, depends_on) VALUES (?, ?);

-- name: drop_dependency
DELETE FROM dependency WHERE request_id = ? AND depends_on = ?;

-- name: drop_dependencies
DELETE FROM dependency WHERE request_id = ? RETURNING depends_on;

-- name: depended_on
SELECT depends_on, count(*) FROM dependency GROUP BY depends_on;

-- name: dependents
SELECT o.* FROM dependency AS d JOIN operation AS o ON o.request_id = d.request_id
WHERE d.depends_on = ?1 AND o.parent_id IS NOT ?1
ORDER BY o.id;

-- name: block_operation
UPDATE operation SET blocked = ? WHERE request_id = ?;

-- name: children
SELECT * FROM history WHERE parent_id = ? ORDER BY created_at, request_id;

-- name: children_by_status
SELECT status, count(*) FROM operation WHERE parent_id = ? GROUP BY status;

-- name: first_child
-- The first target whose turn is not over.
SELECT * FROM operation WHERE parent_id = ? AND status IN ('QUEUED', 'PROCESSING') ORDER BY id LIMIT 1;

-- name: held_children
SELECT c.* FROM dependency AS d JOIN operation AS c ON c.request_id = d.request_id
WHERE d.depends_on = ?1 AND c.parent_id = ?1
ORDER BY c.id;

-- name: families_waiting
SELECT * FROM operation AS p
WHERE p.status = 'QUEUED' AND p.carrier = '' AND EXISTS (
    SELECT 1 FROM dependency AS d JOIN operation AS c ON c.request_id = d.request_id
    WHERE d.depends_on = p.request_id AND c.parent_id = p.request_id
)
ORDER BY p.id;

-- name: families_left
-- Parents that no child will ever decide: a damaged database has lost the last of them. By status, so that each half has
-- an index: a start must not read all that ever ended.
SELECT * FROM operation AS p
WHERE p.status = 'QUEUED' AND p.carrier = ''
    AND NOT EXISTS (SELECT 1 FROM operation AS c WHERE c.parent_id = p.request_id AND c.finished_at IS NULL)
UNION ALL
SELECT * FROM operation AS p INDEXED BY operation_routing
WHERE p.status = 'PROCESSING' AND p.carrier = ''
    AND NOT EXISTS (SELECT 1 FROM operation AS c WHERE c.parent_id = p.request_id AND c.finished_at IS NULL)
ORDER BY id;

-- name: rivals
SELECT * FROM operation
WHERE status IN ('QUEUED', 'PROCESSING') AND conflict_key IS NOT NULL AND target_component = ? AND conflict_key = ?
ORDER BY id;
