"""What an evaluation has done so far, in a directory of its own, so that it goes on where it was interrupted.

Invariants: a line of results.jsonl is one task, written whole and flushed before the task counts as done; the last line
for a task is the one that counts; a torn line at the end is a task that was not done. A directory belongs to one
evaluation: with other data, another candidate or another judge it is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rubric_svc.model import Criterion, Outcome, Verdict
from service_kit.errors import FailedPrecondition

RESULTS = "results.jsonl"
IDENTITY = "evaluation.json"


@dataclass(frozen=True, slots=True)
class Performance:
    """What the candidate said: its answer, or the turns of a whole consultation as (speaker, text)."""

    answer: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A task's performance and verdicts, as they lie in the journal."""

    task_id: str
    performance: Performance
    verdicts: tuple[tuple[Outcome, float, str], ...]

    def of(self, criteria: Sequence[Criterion]) -> list[Verdict]:
        return [Verdict(criterion, *found) for criterion, found in zip(criteria, self.verdicts, strict=True)]

    @property
    def graded(self) -> bool:
        return all(outcome is not Outcome.UNGRADED for outcome, _, _ in self.verdicts)


class Journal:
    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        """`identity` is what the results depend on. Raises FailedPrecondition where the directory has another one."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._path = directory / RESULTS
        self._check(identity)
        self.done = self._read()

    def write(self, answered: Answered) -> None:
        row = {
            "task_id": answered.task_id,
            **asdict(answered.performance),
            "verdicts": [[outcome.name.lower(), p, explanation] for outcome, p, explanation in answered.verdicts],
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done[answered.task_id] = answered

    def _check(self, identity: Mapping[str, Any]) -> None:
        path = self.directory / IDENTITY
        text = json.dumps(identity, indent=2, sort_keys=True)
        if not path.exists():
            path.write_text(text + "\n", encoding="utf-8")
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        now = json.loads(text)
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if changed:
            raise FailedPrecondition(
                "ANOTHER_EVALUATION",
                f"{self.directory} holds an evaluation with another {', '.join(changed)}: choose another directory",
            )

    def _read(self) -> dict[str, Answered]:
        done: dict[str, Answered] = {}
        if not self._path.exists():
            return done
        whole = self._path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with self._path.open("r+b") as file:  # a later line must not be glued to a torn one
                file.truncate(end)
        for line in whole[:end].decode("utf-8").splitlines():
            row = json.loads(line)
            verdicts = tuple((Outcome[name.upper()], p, explanation) for name, p, explanation in row["verdicts"])
            turns = tuple((speaker, text) for speaker, text in row["turns"])
            performance = Performance(row["answer"], turns, row["ending"])
            done[row["task_id"]] = Answered(row["task_id"], performance, verdicts)
        return done
