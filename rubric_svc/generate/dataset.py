"""What a generator of rubrics is trained on: for a case, the prompt and a rubric that it should write.

For SFT (the trainer's `data.pairs`, as `pairs:FILE`), one JSON object a line:

    {"id": "migraine-aura", "prompt": "You are an experienced physician ...", "answer": "{\\"criteria\\": [...]}"}

and for RL (`data.tasks`, as `tasks:FILE`), where a written rubric is rewarded for its agreement with the expert's
(RubricAgreement.reward, computed by ScoreDialogue of an `expert`):

    {"task_id": "migraine-aura", "skill": "open", "prompt": "You are an experienced physician ...",
     "expert": [{"criterion": "Asks ...", "points": 4, "dimension": "treatment"}, ...]}

prompt is what written.py sends, answer what its schema asks for: a trained generator is served as it was trained. What
stands here for the expert are the rules and the library; a clinician's rubrics take the same form. Invariant: the same
case and seed give the same example.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any

from rubric_svc.generate.generator import generate
from rubric_svc.generate.templates import Templates
from rubric_svc.generate.written import LONGEST, MOST, answer_of, criteria_of, prompt
from rubric_svc.model import CORE_DIMENSIONS, Case, Criterion, Persona, Rubric, Scope

# What only some cases call for is drawn so much more often than what every rubric has.
_OWN = 3.0


@dataclass(frozen=True, slots=True)
class Example:
    source_id: str
    prompt: str
    criteria: tuple[Criterion, ...]

    def pair(self) -> dict[str, Any]:
        return {"id": self.source_id, "prompt": self.prompt, "answer": answer_of(self.criteria)}

    def task(self) -> dict[str, Any]:
        expert = [
            {"criterion": c.text, "points": c.points, "dimension": c.dimension.name.lower()} for c in self.criteria
        ]
        return {"task_id": self.source_id, "skill": "open", "prompt": self.prompt, "expert": expert}


def example(case: Case, seed: int, templates: Templates, *, model_criteria: int) -> Example:
    rubric = generate(case, Persona(), (), Scope.WHOLE_DIALOGUE, seed, templates, model_criteria=model_criteria)
    return Example(case.case_id, prompt(case), _drawn(rubric, random.Random(f"{case.case_id}/{seed}")))


def _drawn(rubric: Rubric, chance: random.Random) -> tuple[Criterion, ...]:
    """MOST of the rubric's criteria by a weighted draw (as generator._library), one of each core dimension among them.

    A rubric has far more than one answer can hold. A text that is too long for the schema is cut between two words.
    """

    def luck(criterion: Criterion) -> float:
        weight = abs(criterion.points) * (_OWN if criterion.tags else 1.0)
        return float(chance.random() ** (1 / weight))

    order = sorted(rubric.criteria, key=luck, reverse=True)
    chosen = [next(c for c in order if c.dimension is dimension) for dimension in CORE_DIMENSIONS]
    chosen += [criterion for criterion in order if criterion not in chosen][: MOST - len(chosen)]
    return tuple(
        replace(criterion, text=shorten(criterion.text, LONGEST, placeholder=" ..."))
        for criterion in rubric.criteria
        if criterion in chosen
    )


def target(pair: dict[str, Any]) -> Rubric:
    """The rubric that a line for SFT teaches, to measure what was generated against. Raises KeyError or NoRubric."""
    return Rubric(pair["id"], criteria_of(pair["answer"]))
