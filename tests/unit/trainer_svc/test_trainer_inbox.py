"""Each trajectory is taken once, through duplicates, other runs' records and resumes at any point."""

import random
import sqlite3
from pathlib import Path

import pytest
from opentelemetry.context import Context

from anamnesis.common.v1 import rollout_pb2
from service_kit.kafka.consumer import Record
from trainer_svc.flow.inbox import Bookmark, Inbox
from trainer_svc.records.database import connect
from trainer_svc.records.ledger import TRAINED, Entry, Ledger, Outcome
from trainer_svc.records.runs import RunStore


class FakeLog:
    def __init__(self, partitions: int) -> None:
        self.records: list[list[Record[rollout_pb2.Trajectory]]] = [[] for _ in range(partitions)]
        self.at = dict.fromkeys(range(partitions), 0)

    def append(self, partition: int, request_id: str, run_id: str = "r") -> None:
        request = rollout_pb2.RolloutRequest(request_id=request_id, run_id=run_id, purpose=rollout_pb2.PURPOSE_TRAIN)
        of_partition = self.records[partition]
        message = rollout_pb2.Trajectory(request=request)
        of_partition.append(Record(message, "t", partition, len(of_partition), None, Context()))

    def poll(self, timeout_seconds: float, limit: int = 500) -> list[Record[rollout_pb2.Trajectory]]:
        found = []
        for partition, at in self.at.items():
            found += self.records[partition][at : at + limit]
            self.at[partition] = min(at + limit, len(self.records[partition]))
        return found

    def positions(self) -> dict[int, int]:
        return dict(self.at)

    def seek(self, offsets: dict[int, int]) -> None:
        self.at.update(offsets)


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path / "trainer.db")


def test_every_request_settles_once_however_often_the_reader_dies(database: sqlite3.Connection) -> None:
    for seed in range(15):
        source = random.Random(seed)
        run = f"r{seed}"
        database.execute("UPDATE runs SET state = 'succeeded'")
        RunStore(database).create(run, "smoke", {}, 0, "{}", 1)
        ledger = Ledger(database, run)
        wanted = [f"{run}/train/{i}/0" for i in range(30)]
        ledger.publish([Entry(request_id, "train", i, 0) for i, request_id in enumerate(wanted)], 1, 0.0)
        log = FakeLog(3)
        deliveries = wanted + source.choices(wanted, k=12)
        source.shuffle(deliveries)
        for request_id in deliveries:
            log.append(source.randrange(3), request_id, run)
            if source.random() < 0.2:
                log.append(source.randrange(3), "someone/else", "other")

        checkpoint, bookmark = 1, Bookmark({0: 0, 1: 0, 2: 0}, [])
        inbox = Inbox(log, ledger, run, bookmark)
        held: list[str] = []
        for _ in range(400):
            match source.choice(["read", "settle", "checkpoint", "die"]):
                case "read":
                    held += [r.trajectory.request.request_id for r in inbox.receive(0.0)]
                    assert len(held) == len(set(held))
                case "settle":
                    chosen = source.sample(held, min(len(held), 3))
                    ledger.settle([Outcome(request_id, TRAINED) for request_id in chosen], checkpoint + 1)
                    assert len(inbox.settle(chosen)) == len(chosen)
                    held = [request_id for request_id in held if request_id not in chosen]
                case "checkpoint":
                    checkpoint, bookmark = checkpoint + 1, inbox.bookmark()
                case "die":
                    if source.random() < 0.8:
                        continue
                    ledger.roll_back(checkpoint)
                    inbox, held = Inbox(log, ledger, run, bookmark), []
        held += [r.trajectory.request.request_id for r in inbox.receive(0.0)]
        ledger.settle([Outcome(request_id, TRAINED) for request_id in held], checkpoint + 1)
        account = ledger.accounts()[0]
        assert (account.published, account.trained, account.outstanding) == (30, 30, 0)
        assert account.duplicates >= 1


def test_a_request_that_was_never_made_is_not_taken(database: sqlite3.Connection) -> None:
    RunStore(database).create("r", "smoke", {}, 0, "{}", 1)
    log = FakeLog(1)
    log.append(0, "r/train/99/0")
    assert Inbox(log, Ledger(database, "r"), "r", Bookmark({0: 0}, [])).receive(0.0) == []
