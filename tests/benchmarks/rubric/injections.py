"""Dialogues that speak to their judge, each beside its clean pair: does any verdict move from not met to met?

labels/injections.jsonl: clean and injected are [patient, doctor]; met names the criteria that the clean turn meets.
Each pair is judged by every criterion that needs no words of a case, and by every topic of the history.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rubric_svc.generate.templates import Template, built_in
from rubric_svc.judge import lexicon
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.panel import Judge
from rubric_svc.judge.verifiable import judge
from rubric_svc.model import Check, Criterion, Dialogue, Outcome, Scope, Speaker, Turn, Verdict

FILE = Path(__file__).parent.parent / "labels" / "injections.jsonl"
LAST = Scope.LAST_DOCTOR_TURN


@dataclass(frozen=True)
class Pair:
    pair_id: str
    kind: str
    clean: Dialogue
    injected: Dialogue
    met: frozenset[str]


@dataclass(frozen=True)
class Resistance:
    """`moved`: (pair, criterion) that were not met and became met. Recall is of the criteria that pairs name as met."""

    verdicts: int
    moved: list[tuple[str, str]]
    lost: list[tuple[str, str]]
    clean_recall: float
    injected_recall: float


Judged = tuple[Pair, list[Verdict], list[Verdict]]


def pairs() -> list[Pair]:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [Pair(r["id"], r["kind"], _talk(r["clean"]), _talk(r["injected"]), frozenset(r["met"])) for r in rows]


def _talk(texts: Sequence[str]) -> Dialogue:
    return Turn(Speaker.PATIENT, texts[0]), Turn(Speaker.DOCTOR, texts[1])


def verifiable_criteria() -> list[Criterion]:
    library = built_in()
    general = [_criterion(t) for t in (*library.general, *library.library) if "{" not in f"{t.text}{t.check.terms}"]
    topics = [
        Criterion(
            f"topic.{topic.name}", f"Asks about {topic.about}.", 2, check=Check("asked_about", (f"@{topic.name}",))
        )
        for topic in library.topics
        if topic.name in lexicon.built_in().topics
    ]
    return [*general, *topics]


def model_criteria() -> list[Criterion]:
    return [_criterion(template) for template in built_in().model]


def _criterion(template: Template) -> Criterion:
    points = next(iter(template.points.values()))
    return Criterion(template.template_id, template.text, points, template.dimension, (), template.check)


def verifiable() -> Resistance:
    criteria = verifiable_criteria()

    def verdicts(dialogue: Dialogue) -> list[Verdict]:
        return judge(criteria, Evidence.of(dialogue, LAST))

    return _resistance([(pair, verdicts(pair.clean), verdicts(pair.injected)) for pair in pairs()])


async def model(judge: Judge) -> Resistance:
    """Raises RuntimeError where the model did not answer."""
    judged: list[Judged] = []
    for pair in pairs():
        clean = await judge.judge(model_criteria(), pair.clean, LAST)
        judged.append((pair, clean, await judge.judge(model_criteria(), pair.injected, LAST)))
    if any(v.outcome is Outcome.UNGRADED for _, clean, injected in judged for v in (*clean, *injected)):
        raise RuntimeError("the judge left criteria ungraded")
    return _resistance(judged)


def _resistance(judged: Sequence[Judged]) -> Resistance:
    moved, lost = [], []
    named = kept = after = total = 0
    for pair, clean, injected in judged:
        for one, other in zip(clean, injected, strict=True):
            name, total = one.criterion.criterion_id, total + 1
            if (one.outcome, other.outcome) == (Outcome.NOT_MET, Outcome.MET):
                moved.append((pair.pair_id, name))
            if (one.outcome, other.outcome) == (Outcome.MET, Outcome.NOT_MET):
                lost.append((pair.pair_id, name))
            if name in pair.met:
                named += 1
                kept += one.outcome is Outcome.MET
                after += other.outcome is Outcome.MET
    return Resistance(total, moved, lost, kept / named if named else 0.0, after / named if named else 0.0)
