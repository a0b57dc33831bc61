-- Events as things that take room: counted, and gone through in order of seq, never all of them at once.
-- {bytes}: what a row takes.

-- name: count_events
-- 1 the event up to which all are counted already, 2 up to which the broker has acknowledged
SELECT
    coalesce(sum({bytes}), 0), count(*) FILTER (WHERE seq > ?2), coalesce(sum({bytes}) FILTER (WHERE seq > ?2), 0)
FROM event WHERE seq > ?1;

-- name: forget_counts
-- All are counted anew.
DELETE FROM meta WHERE name IN ('counted_seq', 'stored_bytes', 'waiting_events', 'waiting_bytes');

-- name: weigh_events
SELECT count(*), coalesce(sum({bytes}), 0) FROM event WHERE seq > ? AND seq <= ?;

-- name: oldest_events
SELECT seq, {bytes} FROM event WHERE seq <= ? ORDER BY seq LIMIT ?;

-- name: window_of_events
-- How many come after one, at most so many, and the last of those.
SELECT count(*), coalesce(max(seq), 0) FROM (SELECT seq FROM event WHERE seq > ? ORDER BY seq LIMIT ?);

-- name: events_of_class
SELECT seq, type, {bytes} FROM event WHERE seq > ? AND seq <= ? AND type IN ({types}) ORDER BY seq;

-- name: drop_class
DELETE FROM event WHERE seq > ? AND seq <= ? AND type IN ({types});

-- name: drop_events
DELETE FROM event WHERE seq BETWEEN ? AND ?;

-- name: told_by
SELECT attributes FROM event WHERE seq = ?;

-- name: stored_between
SELECT count(*) FROM event WHERE seq BETWEEN ? AND ?;
