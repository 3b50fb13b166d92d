"""A patient case as facts. Medical knowledge lives in such facts and nowhere in the code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    CHIEF_COMPLAINT = "chief_complaint"
    ONSET = "onset"
    SITE = "site"
    CHARACTER = "character"
    RADIATION = "radiation"
    TIMING = "timing"
    SEVERITY = "severity"
    AGGRAVATING = "aggravating"
    RELIEVING = "relieving"
    ASSOCIATED = "associated"
    PAST_HISTORY = "past_history"
    MEDICATION = "medication"
    ALLERGY = "allergy"
    FAMILY = "family"
    SOCIAL = "social"
    REVIEW_OF_SYSTEMS = "review_of_systems"
    EXAMINATION = "examination"
    TEST = "test"
    DIAGNOSIS = "diagnosis"
    DIFFERENTIAL = "differential"
    RED_FLAG = "red_flag"
    MANAGEMENT = "management"


class Disclosure(StrEnum):
    """When a patient may state a fact."""

    VOLUNTEERED = "volunteered"
    ON_REQUEST = "on_request"
    ON_EXAMINATION = "on_examination"
    NEVER = "never"


class Sex(StrEnum):
    FEMALE = "female"
    MALE = "male"


class Split(StrEnum):
    """A held-out case is never trained on."""

    TRAIN = "train"
    HELD_OUT = "held_out"


# What a doctor concludes is no patient's to tell; what an examination shows is there once it is ordered.
USUAL_DISCLOSURE: dict[Category, Disclosure] = {
    Category.CHIEF_COMPLAINT: Disclosure.VOLUNTEERED,
    Category.EXAMINATION: Disclosure.ON_EXAMINATION,
    Category.TEST: Disclosure.ON_EXAMINATION,
    Category.DIAGNOSIS: Disclosure.NEVER,
    Category.DIFFERENTIAL: Disclosure.NEVER,
    Category.MANAGEMENT: Disclosure.NEVER,
}


@dataclass(frozen=True, slots=True)
class Fact:
    fact_id: str
    category: Category
    text: str
    disclosure: Disclosure
    spoken: str = ""
    cues: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The statement as the patient would say it."""
        return self.spoken or self.text


@dataclass(frozen=True, slots=True)
class Manner:
    """How the patient of a recorded conversation spoke: chooses the persona (personas/sample.py), is never quoted."""

    turns: int
    words_per_turn: float
    # Shares of the patient's turns with a filler ("um") and with a hedge ("I think").
    fillers: float
    hedges: float


@dataclass(frozen=True, slots=True)
class Case:
    case_id: str
    title: str
    specialty: str
    age_years: int
    sex: Sex | None
    split: Split | None
    facts: tuple[Fact, ...]
    diagnosis_names: tuple[str, ...]
    source: str = ""
    prevalence: str = ""
    # Of a case from a recorded conversation; stays in the case store, the contract does not carry it.
    manner: Manner | None = None

    @property
    def words_per_turn(self) -> float | None:
        return self.manner.words_per_turn if self.manner else None

    def of(self, disclosure: Disclosure) -> list[Fact]:
        return [fact for fact in self.facts if fact.disclosure is disclosure]

    def fact(self, fact_id: str) -> Fact:
        return next(fact for fact in self.facts if fact.fact_id == fact_id)
