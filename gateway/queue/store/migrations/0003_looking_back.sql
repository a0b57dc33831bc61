-- What has ended moves out of the live table, and stands in export files before it goes; components found on the bus.

CREATE TABLE archive (  -- as table operation, column by column; only `id` is its own: it counts on as rows come in
    id INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    target_component TEXT NOT NULL,
    carrier TEXT NOT NULL,
    is_proxy INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    creator TEXT NOT NULL,
    initiator_component TEXT,
    request_type TEXT,
    idempotency_key TEXT,
    content_digest BLOB,
    details TEXT NOT NULL,
    status TEXT NOT NULL,
    resumes INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    waits_for TEXT,
    sequence INTEGER,
    partner_sequence INTEGER,
    progress TEXT,
    started_at INTEGER,
    finished_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    urgency INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    reach INTEGER NOT NULL,
    blocked INTEGER NOT NULL,
    parent_id TEXT,
    conflict_key TEXT,
    discarded_at INTEGER
) STRICT;

CREATE INDEX archive_created ON archive (created_at, request_id);
CREATE INDEX archive_target ON archive (target_component, created_at, request_id);
CREATE INDEX archive_finished ON archive (finished_at);
CREATE INDEX archive_month ON archive (strftime('%Y-%m', finished_at / 1000, 'unixepoch'));  -- and id, as in every index
CREATE INDEX archive_children ON archive (parent_id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX archive_idempotency ON archive (creator, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE INDEX operation_created ON operation (created_at, request_id);

CREATE VIEW history AS SELECT * FROM operation UNION ALL SELECT * FROM archive;

CREATE TABLE export (  -- holds the rows of the archive that ended in its month and have a number from first to last
    file TEXT PRIMARY KEY,
    month TEXT NOT NULL,  -- UTC, as 2026-11
    first_seq INTEGER NOT NULL,  -- archive.id
    last_seq INTEGER NOT NULL,
    sha256 TEXT  -- of the file; NULL: begun, and to be written (again) under this very name
) STRICT, WITHOUT ROWID;
CREATE INDEX export_month ON export (month, last_seq);

CREATE TABLE registration (  -- components that are in no configuration
    component_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    bus TEXT NOT NULL,
    node INTEGER NOT NULL,
    owner TEXT NOT NULL,  -- '': nobody; it was only discovered
    parent TEXT
) STRICT, WITHOUT ROWID;
