"""One SQLite file under the state directory holds runs, events and the ledger; server and run processes share it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = Path(__file__).parent / "schema.sql"
# Columns of `runs` that an older database does not have yet.
ADDED = {"general": "TEXT NOT NULL DEFAULT '{}'"}


def connect(path: Path) -> sqlite3.Connection:
    """WAL lets the server read while a run writes; every statement commits by itself unless in `transaction`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.executescript(SCHEMA.read_text(encoding="utf-8"))
    present = {row["name"] for row in connection.execute("PRAGMA table_info(runs)")}
    for column, definition in ADDED.items():
        if column not in present:
            connection.execute(f"ALTER TABLE runs ADD COLUMN {column} {definition}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing, and the write lock from the first statement on."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
