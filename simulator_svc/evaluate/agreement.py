"""The scorers against replies that readers labelled: how often is each of them wrong, and which way?

Two readers label each reply apart. A scorer is held to the labels on which both agree; how often they do is the
ceiling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from simulator_svc.cases.model import Case
from simulator_svc.evaluate.scorers.turns import TurnScore, score_turn


@dataclass(frozen=True, slots=True)
class LabelledReply:
    reply_id: str
    case: Case
    question: str
    # The facts that the reply may state.
    allowed: frozenset[str]
    reply: str
    first: dict[str, Any]
    second: dict[str, Any]

    @property
    def unseen(self) -> bool:
        """A third, by a hash of the id: nobody looks at these while making the scorers."""
        return int(sha256(self.reply_id.encode()).hexdigest(), 16) % 3 == 0


@dataclass(frozen=True, slots=True)
class ScorerError:
    """`missed` of `positives` and `false_alarms` of `negatives`; agreement is that of the two readers."""

    positives: int
    missed: int
    negatives: int
    false_alarms: int
    agreement: float

    @property
    def error(self) -> float:
        return (self.missed + self.false_alarms) / max(1, self.positives + self.negatives)

    def __str__(self) -> str:
        return (
            f"error {100 * self.error:.1f} %: {self.missed} of {self.positives} missed, "
            f"{self.false_alarms} of {self.negatives} false alarms; people agree on {100 * self.agreement:.1f} %"
        )


def read_replies(path: Path, cases: Mapping[str, Case]) -> list[LabelledReply]:
    """An object a line: id, case_id, question, allowed, reply, labels and second {leaks, wrong, diagnosis, states}."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        LabelledReply(
            row["id"],
            cases[row["case_id"]],
            row["question"],
            frozenset(row["allowed"]),
            row["reply"],
            row["labels"],
            row["second"],
        )
        for row in rows
        if row["case_id"] in cases
    ]


def errors(replies: Sequence[LabelledReply]) -> dict[str, ScorerError]:
    """By scorer: leak, wrong, diagnosis (of replies), states (of the facts that anybody finds stated)."""
    scores = [score_turn(row.case, row.question, row.reply, row.allowed) for row in replies]
    judged: dict[str, tuple[Callable[[dict[str, Any]], bool], Callable[[TurnScore], bool]]] = {
        "leak": (lambda label: bool(label["leaks"]), lambda score: bool(score.leaks)),
        "wrong": (lambda label: bool(label["wrong"]), lambda score: bool(score.wrong)),
        "diagnosis": (lambda label: bool(label["diagnosis"]), lambda score: bool(score.diagnosis)),
    }
    found = {
        name: _error([(of(row.first), of(row.second), by(score)) for row, score in zip(replies, scores, strict=True)])
        for name, (of, by) in judged.items()
    }
    return found | {
        "states": _error(
            [verdict for row, score in zip(replies, scores, strict=True) for verdict in _facts(row, score)]
        )
    }


def _facts(row: LabelledReply, score: TurnScore) -> list[tuple[bool, bool, bool]]:
    first, second = frozenset(row.first["states"]), frozenset(row.second["states"])
    return [(fact in first, fact in second, fact in score.speaks_of) for fact in first | second | score.speaks_of]


def _error(verdicts: Sequence[tuple[bool, bool, bool]]) -> ScorerError:
    """Of (first person, second person, scorer)."""
    agreed = [(first, scorer) for first, second, scorer in verdicts if first == second]
    positives = [scorer for label, scorer in agreed if label]
    negatives = [scorer for label, scorer in agreed if not label]
    return ScorerError(
        positives=len(positives),
        missed=sum(not scorer for scorer in positives),
        negatives=len(negatives),
        false_alarms=sum(negatives),
        agreement=len(agreed) / max(1, len(verdicts)),
    )
