"""The ledger adds up under any history, and going back to a checkpoint undoes exactly what came after it."""

import random
import sqlite3
from pathlib import Path

import pytest

from trainer_svc.records.database import connect
from trainer_svc.records.ledger import DROPPED, TRAINED, USED, Account, Entry, Ledger, LedgerError, Outcome
from trainer_svc.records.runs import RunStore


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    connection = connect(tmp_path / "trainer.db")
    RunStore(connection).create("r", "smoke", {}, 2**64 - 1, "{}", 1)
    return connection


def entries(purpose: str, group: int, size: int = 2) -> list[Entry]:
    return [Entry(f"r/{purpose}/{group}/{i}", purpose, group, i) for i in range(size)]


def test_every_history_balances_and_a_roll_back_restores_the_checkpoint(database: sqlite3.Connection) -> None:
    for seed in range(20):
        source = random.Random(seed)
        run = f"run-{seed}"
        database.execute("UPDATE runs SET state = 'cancelled'")
        RunStore(database).create(run, "smoke", {}, 0, "{}", 1)
        ledger = Ledger(database, run)
        checkpoint, published = 1, 0
        at_checkpoint: dict[str, str] = {}
        outcomes: dict[str, str] = {}
        for step in range(60):
            match source.choice(["publish", "settle", "settle", "checkpoint", "duplicate", "crash"]):
                case "publish":
                    new = entries(source.choice(["train", "evaluate", "context"]), step, source.randint(1, 4))
                    ledger.publish(new, 1, 0.0)
                    ledger.publish(new, 2, 0.0)  # again, after a resume
                    published += len(new)
                case "settle":
                    open_ = ledger.outstanding()
                    chosen = source.sample(open_, source.randint(0, len(open_)))
                    settled = [
                        Outcome(e.request_id, DROPPED, source.choice(["timeout", "no_spread"]))
                        if source.random() < 0.5
                        else Outcome(e.request_id, TRAINED if e.purpose == "train" else USED)
                        for e in chosen
                    ]
                    ledger.settle(settled, checkpoint + 1)
                    outcomes |= {o.request_id: o.outcome for o in settled}
                case "checkpoint":
                    checkpoint += 1
                    at_checkpoint = dict(outcomes)
                case "duplicate":
                    ledger.duplicates([(0, source.randint(0, 3), "train")])
                case "crash":
                    ledger.roll_back(checkpoint)
                    outcomes = dict(at_checkpoint)
            accounts = ledger.accounts()
            assert all(account.balances() for account in accounts)
            assert sum(account.published for account in accounts) == published
            assert sum(account.outstanding for account in accounts) == published - len(outcomes)
        ledger.drop_outstanding("run_cancelled", 0)
        assert sum(account.outstanding for account in ledger.accounts()) == 0


def test_a_request_settles_once(database: sqlite3.Connection) -> None:
    ledger = Ledger(database, "r")
    ledger.publish(entries("train", 0), 1, 0.0)
    ledger.settle([Outcome("r/train/0/0", TRAINED)], 1)
    with pytest.raises(LedgerError):
        ledger.settle([Outcome("r/train/0/1", TRAINED), Outcome("r/train/0/0", TRAINED)], 1)
    assert ledger.accounts() == [Account("train", published=2, trained=1, outstanding=1)]


def test_a_drop_needs_a_reason_and_only_a_drop_has_one(database: sqlite3.Connection) -> None:
    ledger = Ledger(database, "r")
    ledger.publish(entries("train", 0), 1, 0.0)
    with pytest.raises(LedgerError):
        ledger.settle([Outcome("r/train/0/0", DROPPED)], 1)
    with pytest.raises(LedgerError):
        ledger.settle([Outcome("r/train/0/0", TRAINED, "because")], 1)


def test_requests_that_the_log_may_not_have_are_known(database: sqlite3.Connection) -> None:
    ledger = Ledger(database, "r")
    ledger.publish(entries("train", 0), 1, expires_at=100.0)
    ledger.publish(entries("train", 1), 1, expires_at=100.0)
    ledger.sent(entries("train", 0))
    assert ledger.uncertain(now=50.0) == entries("train", 1)
    assert ledger.uncertain(now=150.0) == [*entries("train", 0), *entries("train", 1)]


def test_reading_a_duplicate_twice_counts_it_once(database: sqlite3.Connection) -> None:
    ledger = Ledger(database, "r")
    ledger.duplicates([(0, 5, "train")])
    ledger.duplicates([(0, 5, "train")])
    ledger.duplicates([(1, 5, "train")])
    assert ledger.accounts()[0].duplicates == 2
