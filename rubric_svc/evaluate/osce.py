"""OSCE: the candidate doctor interviews a patient of the simulator, and each station of the consultation is scored.

The score is that of the case's rubric over the whole consultation. Beside it, in [0, 1], what clinical examiners tick
off and what the report compares (communication, examination, diagnosis, treatment, safety):

    station:history       share of the case's topics that the doctor asked about
    station:examination   share of the case's examinations that were ordered; station:tests likewise
    station:diagnosis     1 where the doctor named the patient's diagnosis
    station:treatment, station:communication, station:safety: the rubric over that dimension
    station:turns         share of the turns allowed that were used (lower is quicker, not better)

A station that the case or the rubric gives nothing to is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rubric_svc import score as definition
from rubric_svc.evaluate.candidate import Candidate
from rubric_svc.evaluate.journal import Performance
from rubric_svc.evaluate.patients import Patient, Patients
from rubric_svc.evaluate.run import Question
from rubric_svc.evaluate.scores import Example
from rubric_svc.generate.generator import generate
from rubric_svc.generate.situation import assess
from rubric_svc.generate.templates import Templates
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.matchers.base import is_phrase
from rubric_svc.judge.verifiable import find
from rubric_svc.model import Case, Category, Check, Dialogue, Dimension, Persona, Rubric, Scope, Speaker, Turn, Verdict

# What was asked does not depend on who the patient is.
_ANYBODY = Persona()
_OF_DIMENSIONS = {
    Dimension.TREATMENT: "station:treatment",
    Dimension.COMMUNICATION: "station:communication",
    Dimension.ETHICS_AND_SAFETY: "station:safety",
}


@dataclass(frozen=True, slots=True)
class OsceTask:
    patient: Patient
    patients: Patients
    templates: Templates
    model_criteria: int
    most_turns: int
    void_share: float

    @property
    def task_id(self) -> str:
        return f"{self.patient.case.case_id}/{self.patient.seed}"

    @property
    def tags(self) -> tuple[str, ...]:
        return (f"specialty:{self.patient.specialty}",)

    async def play(self, candidate: Candidate) -> Performance:
        return await self.patients.interview(self.patient, candidate, self.most_turns)

    def question(self, performance: Performance) -> Question:
        return Question(self._rubric(), self.shown(performance), Scope.WHOLE_DIALOGUE)

    def example(self, performance: Performance, verdicts: Sequence[Verdict]) -> Example:
        scored = definition.score(verdicts, void_share=self.void_share)
        if scored.void:
            return Example(self.task_id, None, {}, tuple(verdicts))
        by_tag = dict.fromkeys(self.tags, scored.value)
        for part in scored.dimensions:
            by_tag[f"dimension:{part.dimension.name.lower()}"] = part.value
            if part.dimension in _OF_DIMENSIONS:
                by_tag[_OF_DIMENSIONS[part.dimension]] = part.value
        by_tag |= dict(stations(self.patient.case, self.shown(performance), self.templates, self.most_turns))
        return Example(self.task_id, scored.value, by_tag, tuple(verdicts))

    def shown(self, performance: Performance) -> Dialogue:
        return tuple(Turn(Speaker(speaker), text) for speaker, text in performance.turns)

    def _rubric(self) -> Rubric:
        return generate(
            self.patient.case,
            self.patient.persona,
            (),
            Scope.WHOLE_DIALOGUE,
            self.patient.seed,
            self.templates,
            model_criteria=self.model_criteria,
        )


def stations(case: Case, dialogue: Dialogue, templates: Templates, most_turns: int) -> Iterator[tuple[str, float]]:
    """What was covered, by transparent matching."""
    evidence = Evidence.of(dialogue, Scope.WHOLE_DIALOGUE)
    topics = assess(case, _ANYBODY, dialogue, templates.topics).topics
    if topics:
        yield "station:history", sum(topic.asked for topic in topics) / len(topics)
    for name, category in (("station:examination", Category.EXAMINATION), ("station:tests", Category.TEST)):
        checks = [
            Check("orders", cues) for fact in case.of(category) if (cues := tuple(c for c in fact.cues if is_phrase(c)))
        ]
        if checks:
            yield name, sum(bool(find(check, evidence)) for check in checks) / len(checks)
    if names := tuple(name for name in case.diagnosis_names if is_phrase(name)):
        yield "station:diagnosis", float(bool(find(Check("named_diagnosis", names), evidence)))
    yield "station:turns", min(1.0, len(evidence.doctor) / most_turns)
