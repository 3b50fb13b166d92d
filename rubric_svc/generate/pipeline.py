"""The report's generation from end to end: source, candidates by rule, from the library and by the model, refined.

Invariant: without `use_model` a case's rubric is generator.generate's alone, with no call to any model. Everything that
a model adds comes after it and changes none of it, so a model that is away costs its own criteria only.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from rubric_svc.generate.generator import generate
from rubric_svc.generate.refine import refine
from rubric_svc.generate.source import Source, as_case, grounded
from rubric_svc.generate.templates import Templates
from rubric_svc.generate.written import Writer, Written, written
from rubric_svc.judge.features import Embedder
from rubric_svc.model import Case, Dialogue, Persona, Rubric, Scope
from rubric_svc.rubric_agreement import RubricAgreement, rubric_agreement

# Beyond those by rule and from the library.
MOST_WRITTEN = 5
MOST_GROUNDED = 5


@dataclass(frozen=True, slots=True)
class Generated:
    """`similarity` is what intents were compared by, `written_reason` why the model wrote nothing of use."""

    rubric: Rubric
    similarity: str = ""
    written_reason: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    embedder: Embedder
    writer: Writer
    templates: Templates
    model_criteria: dict[Scope, int]
    limit_seconds: float

    async def rubric(
        self, source: Source, persona: Persona, so_far: Dialogue, scope: Scope, seed: int, *, use_model: bool
    ) -> Generated:
        rule = generate(
            as_case(source), persona, so_far, scope, seed, self.templates, model_criteria=self.model_criteria[scope]
        )
        if isinstance(source, Case) and not use_model:
            return Generated(rule)
        until = time.monotonic() + self.limit_seconds
        asked = await written(source, self.writer, seed, self.limit_seconds) if use_model else Written(())
        by_rule, likeness = await refine(
            rule.criteria, grounded(source), MOST_GROUNDED, self.embedder, until - time.monotonic()
        )
        known = (*rule.criteria, *by_rule)
        by_model, compared = await refine(known, asked.criteria, MOST_WRITTEN, self.embedder, until - time.monotonic())
        criteria = (*known, *by_model)
        digest = hashlib.sha256(repr(criteria).encode()).hexdigest()[:16]
        name = f"{rule.rubric_id.rpartition(':')[0]}:{digest}"
        return Generated(Rubric(name, criteria), compared or likeness, asked.reason)

    async def agreement(self, generated: Rubric, expert: Rubric) -> RubricAgreement:
        return await rubric_agreement(generated, expert, self.embedder, self.limit_seconds)
