"""From a draft to a case: each statement is worded, checked against the names of the diagnosis, and given its cues.

Invariant: a fact that a patient may state names no diagnosis and says no sentence that another fact of the case says.
What is left out is counted by its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import sha256

from simulator_svc.cases.cues import cues_of
from simulator_svc.cases.deidentify import MARK
from simulator_svc.cases.diagnosis import cut_free, names_of, tells
from simulator_svc.cases.importers.draft import Draft, Refused, Statement
from simulator_svc.cases.importers.sentences import says_nothing, sentences
from simulator_svc.cases.model import USUAL_DISCLOSURE, Case, Category, Disclosure, Fact, Sex, Split
from simulator_svc.cases.wording import Voice, negations, sentence, spoken
from simulator_svc.units.claims import normal_sentences

_LONGEST, _LONGEST_TITLE, _MOST_FACTS = 2048, 120, 400
_NOT_TOLD = frozenset(category for category, disclosure in USUAL_DISCLOSURE.items() if disclosure is Disclosure.NEVER)
# Of which the first statement is the complaint where the record names none.
_COMPLAINTS = (
    Category.ASSOCIATED, Category.ONSET, Category.CHARACTER, Category.SITE, Category.TIMING, Category.SEVERITY,
    Category.RADIATION, Category.AGGRAVATING, Category.RELIEVING, Category.REVIEW_OF_SYSTEMS, Category.PAST_HISTORY,
)  # fmt: skip
# Every third case is held out.
_HELD_OUT_OF = 3


@dataclass
class Built:
    case: Case
    # Statements that were left out or silenced, by reason.
    notes: Counter[str] = field(default_factory=Counter)


def build(draft: Draft, case_id: str) -> Built:
    """Raises Refused where nothing is left that a patient could say."""
    notes: Counter[str] = Counter()
    record = " ".join(statement.text for statement in draft.statements)
    names = names_of(draft.diagnoses, record)
    secrets = names + names_of(draft.secrets, record)
    statements = _single(draft.statements, notes)
    voice = Voice(draft.age_years, draft.sex)
    facts, came_from = _facts(statements, voice, secrets, notes)
    facts += [Fact("", Category.DIAGNOSIS, sentence(name), Disclosure.NEVER) for name in draft.diagnoses]
    if not any(fact.disclosure in (Disclosure.VOLUNTEERED, Disclosure.ON_REQUEST) for fact in facts):
        raise Refused("holds nothing that a patient could say")
    if len(facts) > _MOST_FACTS:
        raise Refused(f"holds more than {_MOST_FACTS} facts")
    case = Case(
        case_id=case_id,
        title=_title(_with_complaint(facts), draft),
        specialty=draft.specialty or "unspecified",
        age_years=draft.age_years,
        sex=draft.sex,
        split=_split(facts),
        facts=tuple(_numbered(_with_complaint(_cued(facts, came_from)))),
        diagnosis_names=names,
        source=draft.source,
        manner=draft.manner,
    )
    return Built(case, notes)


def _single(statements: list[Statement], notes: Counter[str]) -> list[Statement]:
    """One sentence each, and none that says nothing or lost an identifier it cannot be said without."""
    found: list[Statement] = []
    for statement in statements:
        for part in sentences(statement.text):
            if says_nothing(part):
                notes["says nothing"] += 1
            elif MARK.search(part) or MARK.search(statement.spoken):
                notes["held an identifier"] += 1
            elif len(part) > _LONGEST - 256:
                notes["too long"] += 1
            else:
                found.append(replace(statement, text=part))
    return found


def _with_complaint(facts: list[Fact]) -> list[Fact]:
    """Where nothing is volunteered, the first of what a history begins with is the complaint."""
    if any(fact.disclosure is Disclosure.VOLUNTEERED for fact in facts):
        return facts
    asked = [fact for fact in facts if fact.disclosure is Disclosure.ON_REQUEST and not negations(fact.text)]
    complaint = next((fact for category in _COMPLAINTS for fact in asked if fact.category is category), None)
    if complaint is None:
        return facts
    first = replace(complaint, category=Category.CHIEF_COMPLAINT, disclosure=Disclosure.VOLUNTEERED)
    return [first if fact is complaint else fact for fact in facts]


def _facts(
    statements: list[Statement], voice: Voice, secrets: tuple[str, ...], notes: Counter[str]
) -> tuple[list[Fact], dict[str, Statement]]:
    """The facts, and by what each says, the statement that it came from."""
    facts: list[Fact] = []
    came_from: dict[str, Statement] = {}
    said: set[str] = set()
    for statement in statements:
        never = Fact("", statement.category, _text(statement), Disclosure.NEVER)
        if statement.category in _NOT_TOLD:
            facts.append(never)
            continue
        text, interpretation = statement.text, ""
        words = statement.spoken or spoken(text, statement.category, statement.label, voice)
        if tells(words, secrets) or tells(_text(statement), secrets):
            text, interpretation = cut_free(statement.text, secrets)
            words = spoken(text, statement.category, statement.label, voice) if text else ""
            if not words or tells(words, secrets):
                notes["names the diagnosis: never said"] += 1
                facts.append(never)
                continue
            notes["names the diagnosis: cut"] += 1
        sentences_said = set(normal_sentences(words))
        if not sentences_said or sentences_said & said:
            notes["says the same as another"] += 1
            continue
        said |= sentences_said
        disclosure = USUAL_DISCLOSURE.get(statement.category, Disclosure.ON_REQUEST)
        facts.append(
            Fact("", statement.category, _text(replace(statement, text=text)), disclosure, words, statement.cues)
        )
        came_from[words] = statement
        if interpretation and interpretation != statement.text:
            facts.append(Fact("", Category.DIFFERENTIAL, sentence(interpretation), Disclosure.NEVER))
    return facts, came_from


def _text(statement: Statement) -> str:
    label = f"{statement.label[:1].upper()}{statement.label[1:]}: " if statement.label else ""
    return label + sentence(statement.text)


def _cued(facts: list[Fact], came_from: dict[str, Statement]) -> list[Fact]:
    told = [fact for fact in facts if fact.disclosure is not Disclosure.NEVER]
    cues = dict(
        zip(
            (fact.spoken for fact in told),
            cues_of([(fact.text, came_from[fact.spoken].label) for fact in told]),
            strict=True,
        )
    )
    return [replace(fact, cues=tuple(dict.fromkeys(fact.cues + cues.get(fact.spoken, ())))) for fact in facts]


def _numbered(facts: list[Fact]) -> list[Fact]:
    """In the order of the categories; ids say category and place."""
    counts: Counter[Category] = Counter()
    numbered = []
    for fact in sorted(facts, key=lambda fact: list(Category).index(fact.category)):
        counts[fact.category] += 1
        numbered.append(replace(fact, fact_id=f"{fact.category.value.replace('_', '-')}-{counts[fact.category]}"))
    return numbered


def _split(facts: list[Fact]) -> Split:
    """By what the case says: two copies of a case never lie on both sides, wherever they stand in their files."""
    digest = sha256("\n".join(sorted(fact.text for fact in facts)).encode()).digest()
    return Split.HELD_OUT if int.from_bytes(digest[:8]) % _HELD_OUT_OF == 0 else Split.TRAIN


def _title(facts: list[Fact], draft: Draft) -> str:
    complaint = next((fact for fact in facts if fact.disclosure is Disclosure.VOLUNTEERED), None)
    complaint = complaint or next(fact for fact in facts if fact.disclosure is Disclosure.ON_REQUEST)
    who = {Sex.FEMALE: "female", Sex.MALE: "male", None: "patient"}[draft.sex]
    about = re.sub(r"\s+", " ", complaint.text).rstrip(".")
    return f"{about[:_LONGEST_TITLE]} ({who}, {draft.age_years})"
