"""Where every request of a run went: published = trained + used + dropped (by reason) + outstanding, for each purpose.

A row is committed before its request is published, so no request is ever unknown. An outcome carries the number of the
first checkpoint that contains it; going back to a checkpoint makes later outcomes outstanding again.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from trainer_svc.records.database import transaction

OUTSTANDING, TRAINED, USED, DROPPED = "outstanding", "trained", "used", "dropped"


@dataclass(frozen=True)
class Entry:
    request_id: str
    purpose: str
    group_index: int
    sample_index: int


@dataclass(frozen=True)
class Outcome:
    """reason is set exactly when outcome is dropped."""

    request_id: str
    outcome: str
    reason: str = ""


@dataclass
class Account:
    purpose: str
    published: int = 0
    trained: int = 0
    used: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    outstanding: int = 0
    duplicates: int = 0

    def balances(self) -> bool:
        return self.published == self.trained + self.used + sum(self.dropped.values()) + self.outstanding


class LedgerError(Exception):
    """A request would get a second outcome, or one it cannot have."""


class Ledger:
    def __init__(self, connection: sqlite3.Connection, run_id: str) -> None:
        self._db = connection
        self._run_id = run_id

    def publish(self, entries: Iterable[Entry], incarnation: int, expires_at: float) -> None:
        """Write-ahead. A request that is there already is published again, not anew: it counts once."""
        rows = [
            (self._run_id, e.request_id, e.purpose, e.group_index, e.sample_index, incarnation, expires_at)
            for e in entries
        ]
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO requests"
                " (run_id, request_id, purpose, group_index, sample_index, incarnation, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at, sent = 0",
                rows,
            )

    def sent(self, entries: Iterable[Entry]) -> None:
        """The log has acknowledged them."""
        with transaction(self._db):
            self._db.executemany(
                "UPDATE requests SET sent = 1 WHERE run_id = ? AND request_id = ?",
                [(self._run_id, e.request_id) for e in entries],
            )

    def uncertain(self, now: float) -> list[Entry]:
        """Outstanding requests that may never have reached the log, or have expired in it."""
        rows = self._db.execute(
            "SELECT * FROM requests WHERE run_id = ? AND outcome = 'outstanding' AND (sent = 0 OR expires_at < ?)"
            " ORDER BY purpose, group_index, sample_index",
            (self._run_id, now),
        )
        return [_entry(row) for row in rows]

    def settle(self, outcomes: Iterable[Outcome], checkpoint: int) -> None:
        """All of them or none; a request settles once."""
        with transaction(self._db):
            for outcome in outcomes:
                if (outcome.outcome == DROPPED) != bool(outcome.reason):
                    raise LedgerError(f"{outcome.request_id}: a drop has a reason, and nothing else has one")
                changed = self._db.execute(
                    "UPDATE requests SET outcome = ?, reason = ?, checkpoint = ?"
                    " WHERE run_id = ? AND request_id = ? AND outcome = 'outstanding'",
                    (outcome.outcome, outcome.reason, checkpoint, self._run_id, outcome.request_id),
                ).rowcount
                if changed != 1:
                    raise LedgerError(f"{outcome.request_id} is not outstanding")

    def roll_back(self, checkpoint: int) -> int:
        """Outcomes that the checkpoint does not contain have not happened."""
        return self._db.execute(
            "UPDATE requests SET outcome = 'outstanding', reason = '', checkpoint = NULL"
            " WHERE run_id = ? AND checkpoint > ?",
            (self._run_id, checkpoint),
        ).rowcount

    def drop_outstanding(self, reason: str, checkpoint: int, purpose: str | None = None) -> int:
        return self._db.execute(
            "UPDATE requests SET outcome = 'dropped', reason = ?, checkpoint = ?"
            " WHERE run_id = ? AND outcome = 'outstanding' AND purpose = COALESCE(?, purpose)",
            (reason, checkpoint, self._run_id, purpose),
        ).rowcount

    def duplicates(self, found: Iterable[tuple[int, int, str]]) -> None:
        """Partition, offset and purpose of each; one that is read again counts once."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO duplicates VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(self._run_id, *duplicate) for duplicate in found],
            )

    def outstanding(self, purpose: str | None = None) -> list[Entry]:
        rows = self._db.execute(
            "SELECT * FROM requests WHERE run_id = ? AND outcome = 'outstanding' AND purpose = COALESCE(?, purpose)"
            " ORDER BY purpose, group_index, sample_index",
            (self._run_id, purpose),
        )
        return [_entry(row) for row in rows]

    def outcome(self, request_id: str) -> str | None:
        """None: this run never asked for it."""
        row = self._db.execute(
            "SELECT outcome FROM requests WHERE run_id = ? AND request_id = ?", (self._run_id, request_id)
        ).fetchone()
        return str(row["outcome"]) if row else None

    def accounts(self) -> list[Account]:
        accounts: dict[str, Account] = {}
        rows = self._db.execute(
            "SELECT purpose, outcome, reason, COUNT(*) AS n FROM requests WHERE run_id = ?"
            " GROUP BY purpose, outcome, reason",
            (self._run_id,),
        )
        for row in rows:
            account = accounts.setdefault(row["purpose"], Account(row["purpose"]))
            account.published += row["n"]
            if row["outcome"] == DROPPED:
                account.dropped[row["reason"]] = row["n"]
            else:
                setattr(account, row["outcome"], getattr(account, row["outcome"]) + row["n"])
        for row in self._db.execute(
            "SELECT purpose, COUNT(*) AS n FROM duplicates WHERE run_id = ? GROUP BY purpose", (self._run_id,)
        ):
            accounts.setdefault(row["purpose"], Account(row["purpose"])).duplicates = row["n"]
        return sorted(accounts.values(), key=lambda account: account.purpose)


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(row["request_id"], row["purpose"], row["group_index"], row["sample_index"])
