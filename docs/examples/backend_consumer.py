"""Keeps up with one gateway: every event has its effect once, whatever is killed and started again meanwhile.

    python docs/examples/backend_consumer.py --broker mqtts://broker.example --gateway gw-0042 --password-file secret

The effect here is a row in SQLite, written in one transaction with the position: that is all there is to it. Put what
your backend makes of an event in the place of `apply`.
"""

import argparse
import asyncio
import sqlite3
from pathlib import Path

from gateway.client import Event, Gap, GatewayClient
from gateway.payloads.attributes import ComponentOffline, ComponentOnline

SCHEMA = """
CREATE TABLE IF NOT EXISTS position (gateway TEXT PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS told (id INTEGER PRIMARY KEY, seq INTEGER, type TEXT, subject TEXT, at TEXT, told TEXT);
CREATE TABLE IF NOT EXISTS presence (component_id TEXT PRIMARY KEY, presence TEXT, since TEXT);
"""


def position(db: sqlite3.Connection, gateway: str) -> int:
    """Return the seq of the last event that was dealt with."""
    row = db.execute("SELECT seq FROM position WHERE gateway = ?", (gateway,)).fetchone()
    return row[0] if row else 0


def apply(db: sqlite3.Connection, item: Event | Gap) -> str:
    """Make of an event what is to be made of it. Returns a line for people."""
    if isinstance(item, Gap):
        db.execute("INSERT INTO told (seq, type) VALUES (?, ?)", (item.seq, f"gap: {item.reason}"))
        return f"{item.from_seq} to {item.to_seq} will not come: {item.reason}"
    told = (item.seq, item.type, item.subject, item.at.isoformat(), item.attributes.model_dump_json())
    db.execute("INSERT INTO told (seq, type, subject, at, told) VALUES (?, ?, ?, ?, ?)", told)
    match item.attributes:
        case ComponentOnline(presence=presence, since=since) | ComponentOffline(presence=presence, since=since):
            known = (item.subject, presence, since.isoformat())
            db.execute("INSERT OR REPLACE INTO presence VALUES (?, ?, ?)", known)
    return f"{item.seq} {item.type} {item.subject}"


async def consume(client: GatewayClient, db: sqlite3.Connection, gateway: str) -> None:
    """Apply whatever comes, from where we were."""
    async for item in client.events(since=position(db, gateway)):
        with db:  # one transaction: the effect and the position, or neither
            line = apply(db, item)
            db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (gateway, item.seq))
        print(line, flush=True)


async def main() -> None:
    """Run until stopped."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--broker", required=True, help="mqtts://host[:port]")
    options.add_argument("--gateway", required=True)
    options.add_argument("--actor", default="fleet-backend", help="who we are to broker and gateway")
    options.add_argument("--password-file", type=Path)
    options.add_argument("--ca-file", type=Path, help="who issued the broker's certificate")
    options.add_argument("--database", type=Path, default=Path("fleet.db"))
    args = options.parse_args()

    db = sqlite3.connect(args.database)
    db.executescript(SCHEMA)
    client = GatewayClient(
        args.broker,
        gateway=args.gateway,
        actor=args.actor,
        password_file=args.password_file,
        ca_file=args.ca_file,
        client_id=f"{args.actor}-consumer",  # the broker keeps events for us while we are away
    )
    async with client:
        await consume(client, db, args.gateway)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("stopped")
