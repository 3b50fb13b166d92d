"""Candidates that the frozen model writes, under a JSON schema.

Invariant: what is not JSON of the schema, too late or away gives no candidate, and the reason is told; the rubric then
has those by rule and from the library. Greedy and seeded: the same source gives the same candidates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rubric_svc.generate.source import Source, described
from rubric_svc.model import Criterion, Dimension
from service_kit.errors import ServiceError

_PROMPT = (Path(__file__).parent.parent / "prompts" / "write_criteria.txt").read_text(encoding="utf-8").strip()
MOST = 6
SHORTEST, LONGEST = 8, 160
TOKENS = 400
_LONGEST_SOURCE = 3000
_DIMENSIONS = {d.name.lower(): d for d in Dimension if d is not Dimension.UNSPECIFIED}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "criteria": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST,
                "items": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "minLength": SHORTEST, "maxLength": LONGEST},
                        "dimension": {"enum": sorted(_DIMENSIONS)},
                        "fault": {"type": "boolean"},
                        "importance": {"type": "integer", "minimum": 1, "maximum": 10},
                    },
                    "required": ["text", "dimension", "fault", "importance"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["criteria"],
        "additionalProperties": False,
    }
)


UNPARSEABLE = "UNPARSEABLE"


class NoRubric(Exception):
    """A text is no JSON of the schema."""


class Writer(Protocol):
    async def write(self, prompt: str, schema: str, *, max_tokens: int, seed: int, limit_seconds: float) -> str:
        """Greedy. Raises ServiceError."""


@dataclass(frozen=True, slots=True)
class Written:
    """`reason` says why there are none."""

    criteria: tuple[Criterion, ...]
    reason: str = ""


def prompt(source: Source) -> str:
    return _PROMPT.replace("{source}", described(source)[:_LONGEST_SOURCE])


async def written(source: Source, writer: Writer, seed: int, limit_seconds: float) -> Written:
    try:
        text = await writer.write(prompt(source), SCHEMA, max_tokens=TOKENS, seed=seed, limit_seconds=limit_seconds)
    except ServiceError as error:
        return Written((), error.reason)
    try:
        return Written(criteria_of(text))
    except NoRubric:
        return Written((), UNPARSEABLE)


def criteria_of(text: str) -> tuple[Criterion, ...]:
    """Of JSON of the schema; the first MOST count. Raises NoRubric."""
    try:
        rows = json.loads(text)["criteria"][:MOST]
        found = tuple(_criterion(number, row) for number, row in enumerate(rows, start=1))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise NoRubric from error
    if not found:
        raise NoRubric
    return found


def answer_of(criteria: Sequence[Criterion]) -> str:
    """The JSON that criteria_of reads."""
    rows = [
        {
            "text": criterion.text,
            "dimension": criterion.dimension.name.lower(),
            "fault": criterion.points < 0,
            "importance": abs(criterion.points),
        }
        for criterion in criteria
    ]
    return json.dumps({"criteria": rows}, ensure_ascii=False)


def _criterion(number: int, row: dict[str, Any]) -> Criterion:
    text, fault = " ".join(str(row["text"]).split()), row["fault"]
    if not SHORTEST <= len(text) <= LONGEST or not isinstance(fault, bool):
        raise ValueError
    importance = min(10, max(1, int(row["importance"])))
    return Criterion(
        f"written.{number}",
        text,
        -importance if fault else importance,
        _DIMENSIONS[row["dimension"]],
        ("written",),
    )
