"""The runs and their events, as SQLite keeps them. States change here and nowhere else, each change with its event."""

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trainer_svc.records.database import transaction


class State(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE = (State.STARTING, State.RUNNING)
RESUMABLE = (State.PAUSED, State.FAILED, State.INTERRUPTED)
# No more events follow unless somebody resumes the run.
ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.INTERRUPTED)


class Desired(StrEnum):
    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


@dataclass(frozen=True)
class RunRecord:
    run_id: str
    preset: str
    overrides: dict[str, str]
    seed: int
    config: str
    state: State
    desired: Desired
    incarnation: int
    step: int
    total_steps: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: str
    checkpoint_path: str
    held_out: dict[str, float] | None
    plot_paths: list[str]
    example_before: bytes | None
    example_after: bytes | None
    traced_episodes: int
    general: dict[str, Any]


@dataclass(frozen=True)
class Event:
    sequence: int
    at: float
    kind: str
    payload: dict[str, Any]


class ActiveRunExists(Exception):
    """Another run owns the policy deployment."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id


class RunStore:
    """Every method is one short transaction; `clock` gives the time of events."""

    def __init__(self, connection: sqlite3.Connection, clock: Any = time.time) -> None:
        self._db = connection
        self._clock = clock

    def create(
        self, run_id: str, preset: str, overrides: Mapping[str, str], seed: int, config: str, steps: int
    ) -> RunRecord:
        """The new run, or the one that has this id already. Its first event is that of its first incarnation."""
        with transaction(self._db):
            if (known := self.find(run_id)) is not None:
                return known
            self._refuse_second_active(run_id)
            self._db.execute(
                "INSERT INTO runs (run_id, preset, overrides, seed, config, state, total_steps, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (run_id, preset, json.dumps(dict(overrides)), str(seed), config, State.STARTING, steps, self._clock()),
            )
        return self.get(run_id)

    def find(self, run_id: str) -> RunRecord | None:
        row = self._db.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return _record(row) if row else None

    def get(self, run_id: str) -> RunRecord:
        record = self.find(run_id)
        if record is None:
            raise KeyError(run_id)
        return record

    def newest(self, limit: int, before: tuple[float, str] | None = None) -> list[RunRecord]:
        """Newest first; `before` is the (created_at, run_id) of the last one already seen."""
        rows = self._db.execute(
            "SELECT * FROM runs WHERE (created_at, run_id) < (?, ?) ORDER BY created_at DESC, run_id DESC LIMIT ?",
            (*(before or (float("inf"), "")), limit),
        )
        return [_record(row) for row in rows]

    def in_states(self, states: tuple[State, ...]) -> list[RunRecord]:
        marks = ", ".join("?" for _ in states)
        rows = self._db.execute(f"SELECT * FROM runs WHERE state IN ({marks}) ORDER BY created_at", states)
        return [_record(row) for row in rows]

    def begin_incarnation(self, run_id: str) -> RunRecord:
        """A process is about to be started for the run."""
        with transaction(self._db):
            self._refuse_second_active(run_id)
            self._db.execute(
                "UPDATE runs SET incarnation = incarnation + 1, state = ?, desired = ?, error = '',"
                " started_at = COALESCE(started_at, ?), finished_at = NULL WHERE run_id = ?",
                (State.STARTING, Desired.RUN, self._clock(), run_id),
            )
            self._append(run_id, "state", {"state": State.STARTING})
        return self.get(run_id)

    def change_state(self, run_id: str, state: State, error: str = "", only_from: tuple[State, ...] = ()) -> bool:
        """True when the state changed; with `only_from`, only from one of those states."""
        with transaction(self._db):
            current = self.get(run_id).state
            if current == state or (only_from and current not in only_from):
                return False
            finished = self._clock() if state in ENDED else None
            self._db.execute(
                "UPDATE runs SET state = ?, error = ?, finished_at = ? WHERE run_id = ?",
                (state, error, finished, run_id),
            )
            self._append(run_id, "state", {"state": state})
            if error:
                self._append(run_id, "notice", {"notice": error})
        return True

    def desire(self, run_id: str, desired: Desired) -> None:
        self._db.execute("UPDATE runs SET desired = ? WHERE run_id = ?", (desired, run_id))

    def desired(self, run_id: str) -> Desired:
        row = self._db.execute("SELECT desired FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return Desired(row["desired"])

    def update(self, run_id: str, **columns: Any) -> None:
        """Sets result columns (step, checkpoint_path, held_out, plot_paths, examples, traced_episodes)."""
        values = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in columns.items()}
        names = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE runs SET {names} WHERE run_id = ?", (*values.values(), run_id))

    def append_event(self, run_id: str, kind: str, payload: Mapping[str, Any]) -> None:
        with transaction(self._db):
            self._append(run_id, kind, payload)

    def events_after(self, run_id: str, sequence: int, limit: int = 500) -> list[Event]:
        rows = self._db.execute(
            "SELECT * FROM events WHERE run_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (run_id, sequence, limit),
        )
        return [Event(row["sequence"], row["at"], row["kind"], json.loads(row["payload"])) for row in rows]

    def steps_told(self, run_id: str) -> int:
        """The last step that has an event."""
        row = self._db.execute(
            "SELECT MAX(json_extract(payload, '$.step')) AS step FROM events WHERE run_id = ? AND kind = 'step'",
            (run_id,),
        ).fetchone()
        return int(row["step"] or 0)

    def _append(self, run_id: str, kind: str, payload: Mapping[str, Any]) -> None:
        self._db.execute(
            "INSERT INTO events SELECT ?, COALESCE(MAX(sequence), 0) + 1, ?, ?, ? FROM events WHERE run_id = ?",
            (run_id, self._clock(), kind, json.dumps(payload), run_id),
        )

    def _refuse_second_active(self, run_id: str) -> None:
        for other in self.in_states(ACTIVE):
            if other.run_id != run_id:
                raise ActiveRunExists(other.run_id)


def _record(row: sqlite3.Row) -> RunRecord:
    values = dict(row)
    values["overrides"] = json.loads(values["overrides"])
    values["seed"] = int(values["seed"])
    values["general"] = json.loads(values["general"])
    values["plot_paths"] = json.loads(values["plot_paths"])
    values["held_out"] = json.loads(values["held_out"]) if values["held_out"] else None
    values["state"] = State(values["state"])
    values["desired"] = Desired(values["desired"])
    return RunRecord(**values)
