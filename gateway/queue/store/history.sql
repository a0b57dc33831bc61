-- Looking back: at what has ended, in the live table and in the archive, and at the audit chain; and keeping house.

-- name: archived
SELECT * FROM archive WHERE request_id = ?;

-- name: repeated_old
SELECT * FROM archive WHERE creator = ? AND idempotency_key = ?;

-- name: history
-- 1, 2 the place after which the page begins, 3 its size; then what the filters take
SELECT * FROM history
WHERE (created_at, request_id) < (?1, ?2) AND {filters}
ORDER BY created_at DESC, request_id DESC
LIMIT ?3;

-- name: dead_letters
-- 1 component or NULL, 2, 3 the place after which the page begins, 4 its size
SELECT * FROM operation
WHERE status IN ('FAILED', 'ABANDONED') AND discarded_at IS NULL
    AND (finished_at, request_id) < (?2, ?3) AND (?1 IS NULL OR target_component = ?1)
ORDER BY finished_at DESC, request_id DESC
LIMIT ?4;

-- name: proxied_by
SELECT * FROM operation WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy = 1
UNION ALL
SELECT * FROM operation WHERE status = 'PROCESSING' AND carrier = ?1 AND carrier != '' AND is_proxy = 1

-- name: figures
-- What ended from ?1 on and before ?2, by {key}. A percentile is the least value that so many percent do not exceed.
WITH ended AS (
    SELECT {key} AS key, status,
        coalesce(outcome ->> 'retry_count', 0) AS retries,
        max(coalesce(outcome ->> '$.reached.PROCESSING', started_at) - created_at, 0) AS wait,
        CASE WHEN started_at >= coalesce(outcome ->> '$.reached.QUEUED', 0) THEN max(finished_at - started_at, 0) END
            AS processing
    FROM history
    WHERE finished_at >= ?1 AND finished_at < ?2 AND carrier != ''
), placed AS (
    SELECT *,
        row_number() OVER (PARTITION BY key ORDER BY wait NULLS LAST) AS wait_place,
        count(wait) OVER (PARTITION BY key) AS waits,
        row_number() OVER (PARTITION BY key ORDER BY processing NULLS LAST) AS processing_place,
        count(processing) OVER (PARTITION BY key) AS processings
    FROM ended
)
SELECT key, count(*), sum(retries),
    count(*) FILTER (WHERE status IN ('FAILED', 'ABANDONED')),
    count(*) FILTER (WHERE status = 'COMPLETED'),
    avg(wait),
    min(wait) FILTER (WHERE wait_place = (waits * 50 + 99) / 100),
    min(wait) FILTER (WHERE wait_place = (waits * 95 + 99) / 100),
    min(wait) FILTER (WHERE wait_place = (waits * 99 + 99) / 100),
    avg(processing),
    min(processing) FILTER (WHERE processing_place = (processings * 50 + 99) / 100),
    min(processing) FILTER (WHERE processing_place = (processings * 95 + 99) / 100),
    min(processing) FILTER (WHERE processing_place = (processings * 99 + 99) / 100)
FROM placed
GROUP BY key
ORDER BY key;

-- name: exchange_times
-- 1 how many ends are looked at in all, 2 how many of each carrier
WITH recent AS (
    SELECT carrier, status, finished_at - started_at AS took, finished_at
    FROM operation INDEXED BY operation_finished
    WHERE finished_at IS NOT NULL AND status IN ('COMPLETED', 'FAILED', 'ABANDONED') AND carrier != ''
        AND started_at >= coalesce(outcome ->> '$.reached.QUEUED', 0)
    ORDER BY finished_at DESC
    LIMIT ?1
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY carrier ORDER BY finished_at DESC) AS place FROM recent
)
SELECT carrier, avg(max(took, 0)), avg(status != 'COMPLETED') FROM placed WHERE place <= ?2 GROUP BY carrier;

-- name: audit_entries
SELECT seq, at, actor, transport, action, subject, outcome, code, hash, coalesce(
    (SELECT hash FROM audit AS before WHERE before.seq < audit.seq ORDER BY before.seq DESC LIMIT 1), zeroblob(32)
)
FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?;

-- name: register
INSERT INTO registration (component_id, kind, bus, node, owner, parent) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    kind = excluded.kind, bus = excluded.bus, node = excluded.node, owner = excluded.owner, parent = excluded.parent;

-- name: registrations
SELECT component_id, kind, bus, node, owner, parent FROM registration ORDER BY component_id;

-- name: last_archived
-- A number that was given once is not given again, wherever its row is by now.
SELECT max(
    (SELECT coalesce(max(id), 0) FROM archive), (SELECT coalesce(max(last_seq), 0) FROM export)
);

-- name: archive
-- 1 the last number given, 2 ended before, 3 how many. What is owed a settlement stays, and families stay until all of
-- them have ended; nobody else can be waiting for what has ended.
INSERT INTO archive (id, {columns})
SELECT ?1 + row_number() OVER (ORDER BY finished_at, id), {columns} FROM (
    SELECT * FROM operation AS o
    WHERE finished_at < ?2
        AND outcome ->> 'settlement' IS NOT 'PENDING'
        AND NOT EXISTS (SELECT 1 FROM operation AS c WHERE c.parent_id = o.request_id AND c.finished_at IS NULL)
        AND NOT EXISTS (SELECT 1 FROM operation AS p WHERE p.request_id = o.parent_id AND p.finished_at IS NULL)
    ORDER BY finished_at, id
    LIMIT ?3
);

-- name: forget_archived
DELETE FROM operation WHERE request_id IN (SELECT request_id FROM archive WHERE id > ?);

-- name: begun_export
SELECT * FROM export WHERE sha256 IS NULL;

-- name: oldest_archived
SELECT min(finished_at) FROM archive;

-- name: unexported
-- The numbers of the first rows of month ?1 that are in no export, at most ?2 of them: first and last; NULL: none.
SELECT min(id), max(id) FROM (
    SELECT id FROM archive
    WHERE strftime('%Y-%m', finished_at / 1000, 'unixepoch') = ?1
        AND id > (SELECT coalesce(max(last_seq), 0) FROM export WHERE month = ?1)
    ORDER BY id
    LIMIT ?2
);

-- name: begin_export
INSERT INTO export (file, month, first_seq, last_seq) VALUES (?, ?, ?, ?);

-- name: is_export
SELECT EXISTS (SELECT 1 FROM export WHERE file = ?);

-- name: bundle
SELECT * FROM archive
WHERE strftime('%Y-%m', finished_at / 1000, 'unixepoch') = ? AND id BETWEEN ? AND ?
ORDER BY id;

-- name: exported
UPDATE export SET sha256 = ? WHERE file = ?;

-- name: exports_with_rows
SELECT * FROM export AS e
WHERE month < ? AND sha256 IS NOT NULL AND EXISTS (
    SELECT 1 FROM archive AS a
    WHERE strftime('%Y-%m', a.finished_at / 1000, 'unixepoch') = e.month AND a.id BETWEEN e.first_seq AND e.last_seq
)
ORDER BY month, first_seq;

-- name: drop_exported
DELETE FROM archive WHERE id IN (
    SELECT a.id FROM export AS e JOIN archive AS a
        ON strftime('%Y-%m', a.finished_at / 1000, 'unixepoch') = e.month AND a.id BETWEEN e.first_seq AND e.last_seq
    WHERE e.file = ?1 AND e.sha256 IS NOT NULL
    LIMIT ?2
);
