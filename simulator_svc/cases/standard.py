"""What the built-in library demands of its cases, beyond what holds for every case (parse.py).

An imported case may lack a category, cues or a prevalence and is still a patient; a case written for the library is
complete, so that a doctor who takes a whole history is never left without an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator_svc.cases.model import Case, Category, Disclosure

LEAST_FACTS = 25
LEAST_CASES = 60
REQUIRED = (
    Category.CHIEF_COMPLAINT, Category.ONSET, Category.PAST_HISTORY, Category.MEDICATION, Category.ALLERGY,
    Category.SOCIAL, Category.EXAMINATION, Category.TEST, Category.DIAGNOSIS, Category.DIFFERENTIAL,
    Category.RED_FLAG, Category.MANAGEMENT,
)  # fmt: skip
# The category alone does not say which of its facts a question means.
NEEDS_CUES = {
    Category.ASSOCIATED, Category.REVIEW_OF_SYSTEMS, Category.SOCIAL, Category.RED_FLAG, Category.EXAMINATION,
    Category.TEST,
}  # fmt: skip


def shortcomings(case: Case) -> list[str]:
    """What the case lacks, each as "field: problem"; empty for a case that meets the standard."""
    found = []
    if len(case.facts) < LEAST_FACTS:
        found.append(f"facts: has {len(case.facts)} facts, fewer than {LEAST_FACTS}")
    for field in ("sex", "prevalence", "diagnosis_names"):
        if not getattr(case, field):
            found.append(f"{field}: is missing")
    present = {fact.category for fact in case.facts}
    found += [f"facts.{category}: is missing" for category in REQUIRED if category not in present]
    if not case.of(Disclosure.VOLUNTEERED):
        found.append("facts: none is volunteered, so the patient has no opening words")
    found += [
        f"facts.{fact.category}.{fact.fact_id}.cues: is missing: its category does not say which question means it"
        for fact in case.facts
        if fact.category in NEEDS_CUES and fact.disclosure is not Disclosure.NEVER and not fact.cues
    ]
    return found


def library_shortcomings(cases: Sequence[Case]) -> list[str]:
    """Those of every case, each led by its case id, and those of the library as a whole."""
    found = [f"{case.case_id}: {problem}" for case in cases for problem in shortcomings(case)]
    if len(cases) < LEAST_CASES:
        found.append(f"the library has {len(cases)} cases, fewer than {LEAST_CASES}")
    return found
