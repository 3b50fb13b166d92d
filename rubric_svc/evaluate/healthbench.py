"""HealthBench's JSONL, read and written unchanged.

Invariant: an item keeps the record it came from, every field of it (also the canary and those unknown here), and
writing gives back the line that was read. Evaluation only: nothing here feeds training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rubric_svc.model import Criterion, Dialogue, Rubric, Speaker, Turn

_SPEAKERS = {"user": Speaker.PATIENT, "assistant": Speaker.DOCTOR, "system": Speaker.SYSTEM}


class NotHealthBench(ValueError):
    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


@dataclass(frozen=True, slots=True)
class HealthBenchItem:
    prompt_id: str
    prompt: Dialogue
    rubric: Rubric
    example_tags: tuple[str, ...]
    record: dict[str, Any]
    line: str
    """As it was read: the file escapes some lines and not others, so no re-encoding gives it back."""


def parse_item(line: str, where: str = "line") -> HealthBenchItem:
    try:
        record = json.loads(line)
        prompt_id = str(record["prompt_id"])
        criteria = tuple(
            Criterion(f"{prompt_id}/{index}", row["criterion"], int(row["points"]), tags=tuple(row.get("tags", ())))
            for index, row in enumerate(record["rubrics"])
        )
        prompt = tuple(Turn(_SPEAKERS[message["role"]], message["content"]) for message in record["prompt"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise NotHealthBench(where, f"{type(error).__name__}: {error}") from error
    tags = tuple(record.get("example_tags", ()))
    return HealthBenchItem(prompt_id, prompt, Rubric(prompt_id, criteria), tags, record, line.rstrip("\r\n"))


def read_items(path: Path) -> Iterator[HealthBenchItem]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield parse_item(line, f"{path.name}:{number}")


def write_items(items: Iterable[HealthBenchItem], path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for item in items:
            out.write(item.line + "\n")
