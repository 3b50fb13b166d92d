"""The API keys. Only a key's hash is kept: a key is shown once, when it is made, and can then be checked but not read.

A key is `anm_<id>_<secret>`. The id (public, in lists and logs) finds the row; the secret has 256 random bits, so one
round of SHA-256 is enough. SQLite, so that `anamnesis keys revoke` holds at once for the gateway that is running.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PREFIX = "anm"
_ABSENT = "0" * 64  # compared against where no such id exists, so that an unknown id takes as long as a wrong secret

_SCHEMA = """
CREATE TABLE IF NOT EXISTS api_key (
  key_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  created_at TEXT NOT NULL,
  revoked_at TEXT
)
"""


class KeyRefused(Exception):
    """The key opens nothing; `reason` is stable, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class ApiKey:
    key_id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def now() -> datetime:
    return datetime.now(UTC)


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class KeyStore:
    def __init__(self, path: Path, clock: Callable[[], datetime] = now) -> None:
        self._path = path
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute(_SCHEMA)
        path.chmod(0o600)

    def create(self, name: str) -> tuple[ApiKey, str]:
        """A new key and, this once, its text."""
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        text = f"{PREFIX}_{key_id}_{secret}"
        key = ApiKey(key_id, name, self._clock(), None)
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO api_key (key_id, name, sha256, created_at) VALUES (?, ?, ?, ?)",
                (key_id, name, key_hash(text), key.created_at.isoformat()),
            )
        return key, text

    def all(self) -> list[ApiKey]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT key_id, name, created_at, revoked_at FROM api_key ORDER BY created_at"
            ).fetchall()
        return [_api_key(*row) for row in rows]

    def revoke(self, key_id: str) -> bool:
        """Whether such a key exists; revoking twice is no error and keeps the first time."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE api_key SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL",
                (self._clock().isoformat(), key_id),
            )
            return connection.execute("SELECT 1 FROM api_key WHERE key_id = ?", (key_id,)).fetchone() is not None

    def check(self, text: str) -> ApiKey:
        """The key this text is, or KeyRefused. That a key was revoked is told only to whoever holds it."""
        prefix, _, rest = text.partition("_")
        key_id = rest.partition("_")[0] if prefix == PREFIX else ""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT key_id, name, created_at, revoked_at, sha256 FROM api_key WHERE key_id = ?", (key_id,)
            ).fetchone()
        stored = row[4] if row else _ABSENT
        if not hmac.compare_digest(stored, key_hash(text)) or row is None:
            raise KeyRefused("INVALID_API_KEY", "the API key is not known")
        key = _api_key(*row[:4])
        if key.revoked_at is not None:
            raise KeyRefused("REVOKED_API_KEY", f"the API key {key.key_id} was revoked")
        return key

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=5.0)) as connection, connection:
            yield connection


def _api_key(key_id: str, name: str, created_at: str, revoked_at: str | None) -> ApiKey:
    return ApiKey(
        key_id, name, datetime.fromisoformat(created_at), datetime.fromisoformat(revoked_at) if revoked_at else None
    )
