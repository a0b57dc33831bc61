"""SQLite: the durable queue, and what works it off."""
