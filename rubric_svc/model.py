"""What the rubric service reasons about, without protobuf.

Enumerations carry the numbers of the contract, so mapping.py converts them by value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class Dimension(IntEnum):
    UNSPECIFIED = 0
    DIAGNOSTIC_ACCURACY = 1
    CONSULTATION_LOGIC = 2
    TREATMENT = 3
    COMMUNICATION = 4
    ETHICS_AND_SAFETY = 5
    EVIDENCE = 6
    CLARITY = 7


# The five that the report names; every generated rubric has each of them.
CORE_DIMENSIONS = (
    Dimension.DIAGNOSTIC_ACCURACY,
    Dimension.CONSULTATION_LOGIC,
    Dimension.TREATMENT,
    Dimension.COMMUNICATION,
    Dimension.ETHICS_AND_SAFETY,
)


class Outcome(IntEnum):
    UNSPECIFIED = 0
    MET = 1
    NOT_MET = 2
    UNGRADED = 3


class Scope(IntEnum):
    LAST_DOCTOR_TURN = 1
    WHOLE_DIALOGUE = 2


class Speaker(StrEnum):
    SYSTEM = "system"
    PATIENT = "patient"
    DOCTOR = "doctor"


class Category(IntEnum):
    """FactCategory of the contract."""

    CHIEF_COMPLAINT = 1
    ONSET = 2
    SITE = 3
    CHARACTER = 4
    RADIATION = 5
    TIMING = 6
    SEVERITY = 7
    AGGRAVATING = 8
    RELIEVING = 9
    ASSOCIATED = 10
    PAST_HISTORY = 11
    MEDICATION = 12
    ALLERGY = 13
    FAMILY = 14
    SOCIAL = 15
    REVIEW_OF_SYSTEMS = 16
    EXAMINATION = 17
    TEST = 18
    DIAGNOSIS = 19
    DIFFERENTIAL = 20
    RED_FLAG = 21
    MANAGEMENT = 22


class Emotion(IntEnum):
    UNSPECIFIED = 0
    CALM = 1
    ANXIOUS = 2
    IRRITABLE = 3
    SAD = 4
    STOIC = 5


class Level(IntEnum):
    UNSPECIFIED = 0
    LOW = 1
    MIDDLE = 2
    HIGH = 3


class Sex(IntEnum):
    UNSPECIFIED = 0
    FEMALE = 1
    MALE = 2


@dataclass(frozen=True, slots=True)
class Turn:
    speaker: Speaker
    text: str


Dialogue = tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    fact_id: str
    category: Category
    text: str
    spoken: str = ""
    cues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    case_id: str
    facts: tuple[Fact, ...]
    diagnosis_names: tuple[str, ...] = ()
    age_years: int | None = None
    sex: Sex = Sex.UNSPECIFIED

    def of(self, category: Category) -> list[Fact]:
        return [fact for fact in self.facts if fact.category is category]


@dataclass(frozen=True, slots=True)
class Persona:
    emotional_state: Emotion = Emotion.UNSPECIFIED
    health_literacy: Level = Level.UNSPECIFIED
    education: Level = Level.UNSPECIFIED
    means: Level = Level.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Check:
    """A matcher's name and its terms; without a matcher the judge model answers."""

    matcher: str = ""
    terms: tuple[str, ...] = ()


MODEL = Check()


@dataclass(frozen=True, slots=True)
class Criterion:
    criterion_id: str
    text: str
    points: int
    dimension: Dimension = Dimension.UNSPECIFIED
    tags: tuple[str, ...] = ()
    check: Check = MODEL

    def __post_init__(self) -> None:
        if not (-10 <= self.points <= 10) or self.points == 0:
            raise ValueError(f"{self.criterion_id}: points lie in [-10, 10] without 0, not {self.points}")


@dataclass(frozen=True, slots=True)
class Rubric:
    rubric_id: str
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`probability` is that of "met"."""

    criterion: Criterion
    outcome: Outcome
    probability: float
    explanation: str


@dataclass(frozen=True, slots=True)
class DimensionScore:
    dimension: Dimension
    value: float
    points_possible: float


@dataclass(frozen=True, slots=True)
class Score:
    value: float
    points_met: float
    points_possible: float
    ungraded_share: float
    void: bool
    verdicts: tuple[Verdict, ...] = ()
    dimensions: tuple[DimensionScore, ...] = field(default=())
