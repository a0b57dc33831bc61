"""write: commit rows for ever, say on stdout which are durable. check N: all rows up to N must be there."""

import os
import sqlite3
import sys
import time
from pathlib import Path

Path("/var/lib/q").mkdir(parents=True, exist_ok=True)
db = sqlite3.connect("/var/lib/q/q.db", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=" + os.environ.get("SYNC", "FULL"))
db.execute("CREATE TABLE IF NOT EXISTS q(n INTEGER PRIMARY KEY, t REAL)")
if sys.argv[1] == "write":
    while True:
        n = db.execute("INSERT INTO q(t) VALUES (?)", (time.time(),)).lastrowid
        print(n, flush=True)
else:
    last = int(sys.argv[2])
    have = db.execute("SELECT COUNT(*), MAX(n) FROM q").fetchone()
    print("integrity", db.execute("PRAGMA integrity_check").fetchone()[0], "said durable", last, "found", have)
    sys.exit(not (have[0] or 0) >= last)
