-- name: insert_operation
-- Most of what the drain keeps is as it is by default; the fewer values, the faster.
INSERT INTO operation (
    request_id, kind, target_component, carrier, is_proxy, priority, created_at, expires_at, creator,
    initiator_component, request_type, idempotency_key, content_digest, details,
    urgency, reach, blocked, parent_id, conflict_key
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: move_operation
-- One statement for every step, so that those of many jobs go in one batch, in their order.
UPDATE operation
SET status = ?, resumes = ?, not_before = ?, waits_for = ?, sequence = ?, partner_sequence = ?, started_at = ?,
    finished_at = ?, outcome = ?
WHERE request_id = ?;

-- name: renew_operation
-- What a dead letter loses beside what every step changes.
UPDATE operation SET expires_at = ?, urgency = ?, rank = 0, progress = NULL, discarded_at = NULL WHERE request_id = ?;

-- name: place_operation
UPDATE operation SET priority = ?, urgency = ?, rank = ? WHERE request_id = ?;

-- name: discard_operation
UPDATE operation SET discarded_at = ? WHERE request_id = ?;

-- name: order_anew
-- The mode may be another one since the database was last open. 1 urgency of those that are not FIRST, or NULL: by priority
UPDATE operation SET urgency = coalesce(?1, priority)
WHERE status = 'QUEUED' AND urgency < 5 AND urgency != coalesce(?1, priority);

-- name: operation
SELECT * FROM operation WHERE request_id = ?;

-- name: repeated
SELECT * FROM operation WHERE creator = ? AND idempotency_key = ?;

-- name: pick
-- 1 carrier, 2 highest is_proxy, 3 now, 4 expired by, 5 target or NULL, 6 reach
-- A command that resumes within ten seconds comes first before it is due, too: the caller then takes nothing, or others
-- would push its result out of the device's memory and it would be carried out again. For longer nobody is held up.
SELECT * FROM operation AS o {index}
WHERE {which} AND status = 'QUEUED' AND carrier = ?1 AND is_proxy <= ?2 AND blocked = 0 AND waits_for IS NULL
    AND (not_before <= ?3 OR (resumes AND kind = 'COMMAND' AND not_before <= ?3 + 10000))
    AND expires_at > ?4 AND (?5 IS NULL OR target_component = ?5)
    AND (NOT ?2 OR NOT EXISTS (  -- without proxies, the target is the carrier, and the writer knows that it is free
        SELECT 1 FROM operation AS p
        WHERE p.status = 'PROCESSING' AND p.carrier != '' AND p.target_component = o.target_component
    ))
ORDER BY {order}
LIMIT 1;

-- name: next_due
-- As pick, whenever that may be.
-- 1 carrier, 2 highest is_proxy, 3 expired by, 4 target or NULL, 5 reach or 0, 6 now
SELECT coalesce(
    min(not_before) FILTER (WHERE resumes AND kind = 'COMMAND' AND not_before > ?6 AND not_before <= ?6 + 10000),
    min(not_before)
) FROM operation
WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy <= ?2 AND blocked = 0 AND waits_for IS NULL AND expires_at > ?3
    AND (?4 IS NULL OR target_component = ?4) AND (?5 = 0 OR reach = ?5);

-- name: next_expiry
-- A routed parent ends with its children.
SELECT min(expires_at) FROM operation WHERE status = 'QUEUED' AND carrier != '';

-- name: expired
SELECT * FROM operation WHERE status = 'QUEUED' AND expires_at <= ? AND carrier != ''
ORDER BY expires_at, created_at, request_id LIMIT 1;

-- name: set_end
UPDATE operation SET expires_at = ? WHERE request_id = ? AND finished_at IS NULL;

-- name: passing
SELECT request_id FROM operation
WHERE status = 'QUEUED' AND carrier = ? AND details ->> 'pass_through'
ORDER BY created_at, request_id;

-- name: least_rank
-- 1 carrier, 2 is_proxy, 3 resumes, 4 urgency
SELECT rank FROM operation
WHERE status = 'QUEUED' AND carrier = ? AND is_proxy = ? AND resumes = ? AND urgency = ?
ORDER BY rank LIMIT 1;

-- name: processing
SELECT * FROM operation INDEXED BY operation_processing
WHERE status = 'PROCESSING' AND carrier != '' ORDER BY request_id;

-- name: confirming
UPDATE operation SET progress = 'confirming' WHERE request_id = ? AND status = 'PROCESSING';

-- name: progress
SELECT progress FROM operation WHERE request_id = ?;

-- name: forget_waits
UPDATE operation SET waits_for = NULL WHERE status = 'QUEUED' AND waits_for IS NOT NULL;

-- name: returned
UPDATE operation SET waits_for = NULL WHERE status = 'QUEUED' AND waits_for = ? RETURNING carrier;

-- name: numbered
-- Those that hold numbers.
SELECT * FROM operation WHERE status = 'QUEUED' AND sequence IS NOT NULL
UNION ALL
SELECT * FROM operation WHERE status = 'PROCESSING' AND carrier != '' AND kind = 'PAIRING';

-- name: counters
SELECT component_id, cmd_seq, txn_id, last_processed FROM component;

-- name: put_counters
INSERT INTO component (component_id, cmd_seq, txn_id, last_processed) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    cmd_seq = excluded.cmd_seq, txn_id = excluded.txn_id, last_processed = excluded.last_processed;

-- name: queued_before
-- 1 carrier, 2 is_proxy, 3 resumes, 4 urgency, 5 rank, 6 created_at, 7 request_id
SELECT
    (SELECT count(*) FROM operation WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy < ?2)
    + (SELECT count(*) FROM operation WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy = ?2 AND resumes > ?3)
    + (
        SELECT count(*) FROM operation
        WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy = ?2 AND resumes = ?3 AND urgency > ?4
    )
    + (
        SELECT count(*) FROM operation
        WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy = ?2 AND resumes = ?3 AND urgency = ?4
            AND (rank, created_at, request_id) < (?5, ?6, ?7)
    );

-- name: queued_by_class
SELECT target_component, carrier, is_proxy, resumes, urgency, count(*), max(rank), max(created_at)
FROM operation WHERE status = 'QUEUED' AND carrier != ''
GROUP BY target_component, carrier, is_proxy, resumes, urgency;

-- name: front
SELECT * FROM operation INDEXED BY operation_due
WHERE status = 'QUEUED' AND carrier = ?
ORDER BY is_proxy, resumes DESC, urgency DESC, rank, created_at, request_id
LIMIT ?;

-- name: waiting
-- Target, how many, and since when the oldest; of all but proxy requests from the index alone.
SELECT target, sum(waiting), min(oldest) FROM (
    SELECT carrier AS target, count(*) AS waiting, min(created_at) AS oldest FROM operation INDEXED BY operation_due
    WHERE status = 'QUEUED' AND is_proxy = 0 AND carrier != ''
    GROUP BY carrier
    UNION ALL
    SELECT target_component, count(*), min(created_at) FROM operation INDEXED BY operation_proxied
    WHERE status = 'QUEUED' AND is_proxy = 1
    GROUP BY target_component
) GROUP BY target;

-- name: pending
SELECT * FROM operation WHERE status = 'QUEUED'
UNION ALL
SELECT * FROM operation WHERE status = 'PROCESSING' AND carrier != ''
UNION ALL
SELECT * FROM operation WHERE status = 'PROCESSING' AND carrier = ''

-- name: pending_of
-- What waits or runs for a component: of a proxy request the target counts, not the one spoken to.
SELECT * FROM operation WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy = 0
UNION ALL
SELECT * FROM operation WHERE status = 'QUEUED' AND target_component = ?1 AND is_proxy = 1
UNION ALL
SELECT * FROM operation WHERE status = 'PROCESSING' AND carrier != '' AND target_component = ?1

-- name: ended
SELECT * FROM operation WHERE status = ?2

-- name: ended_of
SELECT * FROM operation WHERE status = ?2 AND target_component = ?1

-- name: page
-- One page of one of the four above. 1 component, 2 status or NULL, 3–8 the place after which it begins, 9 its size
SELECT * FROM ({source})
WHERE (?2 IS NULL OR status = ?2) AND {queue_type}
    AND (is_proxy, NOT resumes, -urgency, rank, created_at, request_id) > (?3, ?4, ?5, ?6, ?7, ?8)
ORDER BY is_proxy, resumes DESC, urgency DESC, rank, created_at, request_id
LIMIT ?9;

-- name: pending_ids
SELECT request_id FROM ({source}) ORDER BY is_proxy, resumes DESC, urgency DESC, rank, created_at, request_id;

-- name: queue_sizes
SELECT
    count(*) FILTER (WHERE NOT is_proxy AND NOT (priority >= 3 OR request_type IS 'EMERGENCY')),
    count(*) FILTER (WHERE NOT is_proxy AND (priority >= 3 OR request_type IS 'EMERGENCY')),
    count(*) FILTER (WHERE is_proxy),
    min(created_at),
    (SELECT last_processed FROM component WHERE component_id = ?1)
FROM (
    SELECT is_proxy, priority, created_at, request_type FROM operation
    WHERE status = 'QUEUED' AND carrier = ?1 AND is_proxy = 0
    UNION ALL
    SELECT is_proxy, priority, created_at, request_type FROM operation
    WHERE status = 'QUEUED' AND target_component = ?1 AND is_proxy = 1
);

-- name: load
-- Of routed commands, the children count.
SELECT
    (SELECT count(*) FROM operation WHERE status = 'QUEUED' AND carrier != ''),
    avg(started_at - created_at),
    avg(finished_at - started_at),
    avg(status != 'COMPLETED')
FROM operation
WHERE finished_at > ? AND status IN ('COMPLETED', 'FAILED', 'ABANDONED') AND carrier != '';

-- name: component
SELECT component_id, presence, reason, since, last_seen, expected_return, serial, evidence, absent_since, absences
FROM component WHERE component_id = ?;

-- name: components
SELECT component_id, presence, reason, since, last_seen, expected_return, serial, evidence
FROM component ORDER BY component_id;

-- name: put_component
INSERT INTO component (
    presence, reason, since, last_seen, expected_return, evidence, absent_since, absences, component_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    presence = excluded.presence, reason = excluded.reason, since = excluded.since, last_seen = excluded.last_seen,
    expected_return = excluded.expected_return, evidence = excluded.evidence, absent_since = excluded.absent_since,
    absences = excluded.absences;

-- name: learn_serial
INSERT INTO component (serial, serial_at, component_id) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET serial = excluded.serial, serial_at = excluded.serial_at;

-- name: insert_event
INSERT INTO event (seq, type, subject, at, time_trusted, attributes) VALUES (?, ?, ?, ?, ?, ?);

-- name: events_after
SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: last_seq
-- A pruned or salvaged table must not make numbers come again: what was acknowledged was given.
SELECT max(
    (SELECT coalesce(max(seq), 0) FROM event), coalesce((SELECT value FROM meta WHERE name = 'acknowledged_seq'), 0)
);

-- name: last_event_at
SELECT coalesce(max(at), 0) FROM (SELECT at FROM event WHERE time_trusted ORDER BY seq DESC LIMIT 1000);

-- name: meta
SELECT value FROM meta WHERE name = ?;

-- name: all_meta
SELECT name, value FROM meta;

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: next_epoch
INSERT INTO meta (name, value) VALUES ('epoch', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value;

-- name: insert_audit
INSERT INTO audit (seq, at, actor, transport, action, subject, outcome, code, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: audit_head
SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1;

-- name: audit
SELECT seq, at, actor, transport, action, subject, outcome, code, hash FROM audit ORDER BY seq;

-- name: remember
INSERT OR REPLACE INTO call (actor, call_id, digest, until, answer) VALUES (?, ?, ?, ?, ?);

-- name: remembered
SELECT digest, answer FROM call WHERE actor = ? AND call_id = ? AND until >= ?;

-- name: forget_calls
DELETE FROM call WHERE until < ?;

-- name: parameters
SELECT name, value FROM parameter;

-- name: put_parameter
INSERT INTO parameter (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value;
