"""Candidates that the frozen model writes, under a JSON schema.

Invariant: what is not JSON of the schema, too late or away gives no candidate, and the reason is told; the rubric then
has those by rule and from the library. Greedy and seeded: the same source gives the same candidates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rubric_svc.generate.source import Source, described
from rubric_svc.model import Criterion, Dimension
from service_kit.errors import ServiceError

_PROMPT = (Path(__file__).parent.parent / "prompts" / "write_criteria.txt").read_text(encoding="utf-8").strip()
_MOST = 6
_TOKENS = 400
_LONGEST_SOURCE = 3000
_DIMENSIONS = {d.name.lower(): d for d in Dimension if d is not Dimension.UNSPECIFIED}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "criteria": {
                "type": "array",
                "minItems": 1,
                "maxItems": _MOST,
                "items": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "minLength": 8, "maxLength": 160},
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
        text = await writer.write(prompt(source), SCHEMA, max_tokens=_TOKENS, seed=seed, limit_seconds=limit_seconds)
    except ServiceError as error:
        return Written((), error.reason)
    try:
        return Written(criteria_of(json.loads(text))[:_MOST])
    except (ValueError, KeyError, TypeError):
        return Written((), "UNPARSEABLE")


def criteria_of(table: dict[str, Any]) -> tuple[Criterion, ...]:
    """Of an object of the schema. Raises KeyError, TypeError or ValueError."""
    return tuple(_criterion(number, row) for number, row in enumerate(table["criteria"], start=1))


def _criterion(number: int, row: dict[str, Any]) -> Criterion:
    importance = min(10, max(1, int(row["importance"])))
    return Criterion(
        f"written.{number}",
        " ".join(str(row["text"]).split()),
        -importance if row["fault"] else importance,
        _DIMENSIONS[row["dimension"]],
        ("written",),
    )
