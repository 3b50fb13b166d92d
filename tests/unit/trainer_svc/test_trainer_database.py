"""A database of an earlier release is opened as it is, and has what was added since."""

import sqlite3
from pathlib import Path

from trainer_svc.records.database import ADDED, SCHEMA, connect
from trainer_svc.records.runs import RunStore


def test_a_run_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trainer.db"
    text = SCHEMA.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not any(f"  {column} " in line for column in ADDED)]
    earlier = "\n".join(lines).replace(
        "traced_episodes INTEGER NOT NULL DEFAULT 0,", "traced_episodes INTEGER DEFAULT 0"
    )
    with sqlite3.connect(path) as old:
        old.executescript(earlier)
        old.execute(
            "INSERT INTO runs (run_id, preset, overrides, seed, config, state, total_steps, created_at)"
            " VALUES ('r', 'demo', '{}', '1', '{}', 'succeeded', 3, 1.0)"
        )
    record = RunStore(connect(path)).get("r")
    assert record.general == {} and record.total_steps == 3
    connect(path)  # again changes nothing
