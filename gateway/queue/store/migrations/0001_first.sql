-- Times are integer milliseconds since the epoch, UTC. Columns that end in JSON values are TEXT, so that any tool reads them.

CREATE TABLE meta (  -- acknowledged_seq, epoch
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parameter (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE component (
    component_id TEXT PRIMARY KEY,
    presence TEXT NOT NULL DEFAULT 'UNKNOWN',
    reason TEXT DEFAULT 'never_heard',
    since INTEGER NOT NULL DEFAULT 0,
    last_seen INTEGER,
    expected_return INTEGER,
    evidence TEXT NOT NULL DEFAULT '{}',  -- JSON
    absent_since INTEGER,
    absences TEXT NOT NULL DEFAULT '[]',  -- JSON: lengths of the last absences, ms
    serial TEXT,  -- 16 hexadecimal digits: 64 bits do not fit a signed INTEGER
    serial_at INTEGER,
    cmd_seq INTEGER NOT NULL DEFAULT 0,  -- the last one given
    txn_id INTEGER NOT NULL DEFAULT 0,
    last_processed INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE operation (
    id INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    target_component TEXT NOT NULL,
    carrier TEXT NOT NULL,  -- who is spoken to: the proxy of a PROXY request, else the target
    is_proxy INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    creator TEXT NOT NULL,
    initiator_component TEXT,
    request_type TEXT,
    idempotency_key TEXT,
    content_digest BLOB,  -- of what was asked; only beside an idempotency_key
    details TEXT NOT NULL,  -- JSON: what the caller said and no query asks for
    -- What the drain keeps
    status TEXT NOT NULL DEFAULT 'QUEUED',
    resumes INTEGER NOT NULL DEFAULT 0,  -- 1: it may have been carried out already; goes first, before its device forgets
    not_before INTEGER NOT NULL DEFAULT 0,
    waits_for TEXT,
    sequence INTEGER,
    partner_sequence INTEGER,
    progress TEXT,
    started_at INTEGER,
    finished_at INTEGER,
    outcome TEXT NOT NULL DEFAULT '{}'  -- JSON: retry_count, reached, result, last_error, cancellation_reason
) STRICT;

-- The order of processing: a claim reads its first entry, however many wait.
CREATE INDEX operation_due ON operation (carrier, is_proxy, resumes DESC, priority DESC, created_at, request_id)
    WHERE status = 'QUEUED';
CREATE INDEX operation_emergency ON operation (carrier, is_proxy, resumes DESC, priority DESC, created_at, request_id)
    WHERE status = 'QUEUED' AND request_type = 'EMERGENCY';
CREATE INDEX operation_expiry ON operation (expires_at) WHERE status = 'QUEUED';
CREATE INDEX operation_proxied ON operation (target_component) WHERE status = 'QUEUED' AND is_proxy = 1;
CREATE INDEX operation_waiting ON operation (waits_for) WHERE status = 'QUEUED' AND waits_for IS NOT NULL;
-- Numbers that a new exchange must not take.
CREATE INDEX operation_sequence ON operation (carrier, kind) WHERE status = 'QUEUED' AND sequence IS NOT NULL;
CREATE INDEX operation_partner ON operation (initiator_component)
    WHERE status IN ('QUEUED', 'PROCESSING') AND partner_sequence IS NOT NULL;
-- At most one at a time.
CREATE UNIQUE INDEX operation_processing ON operation (target_component) WHERE status = 'PROCESSING';
CREATE UNIQUE INDEX operation_idempotency ON operation (creator, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX operation_finished ON operation (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    time_trusted INTEGER NOT NULL,
    attributes TEXT NOT NULL  -- JSON
) STRICT;

CREATE TABLE audit (  -- append-only; hash = SHA-256(hash of the row before, then this row as a JSON list)
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    transport TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT,
    hash BLOB NOT NULL
) STRICT;

CREATE TABLE call (
    actor TEXT NOT NULL,
    call_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    until INTEGER NOT NULL,
    answer TEXT NOT NULL,  -- JSON
    PRIMARY KEY (actor, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_until ON call (until);
