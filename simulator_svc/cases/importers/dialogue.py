"""Doctor-patient conversations with a note each: CSV as MTS-Dialog has it (section_header, section_text, dialogue).

Only what the patient stated becomes a fact of the history: the patient's own sentences as they were said, what a plain
yes or no makes of a closed question, and those sentences of the note whose words came up in the conversation. How the
patient spoke is measured and recorded with the case.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from simulator_svc.cases.classify import category_of
from simulator_svc.cases.cues import own_words
from simulator_svc.cases.deidentify import Deidentifier
from simulator_svc.cases.importers.demographics import age_in_years, sex_of
from simulator_svc.cases.importers.dialogue_rules import Rules, Section, rules
from simulator_svc.cases.importers.draft import Draft, Refused, Statement
from simulator_svc.cases.importers.reading import Record, clear_tree, files
from simulator_svc.cases.importers.report import SourceUnreadable
from simulator_svc.cases.importers.sentences import sentences
from simulator_svc.cases.model import USUAL_DISCLOSURE, Category, Disclosure, Manner
from simulator_svc.cases.wording import SPEAKS_FROM, negations, sentence

SOURCE = "imported from a recorded conversation"
_FIELDS = ("section_header", "section_text", "dialogue")
_LEAST_FACTS = 3
_TOLD = (None, Disclosure.VOLUNTEERED)
# A shorter sentence says too little to stand alone.
_SHORTEST = 4
# A sentence of the note was talked about if this share of its content words came up; it is said already if that share
# stands in one sentence of the patient's own.
_TALKED_ABOUT, _SAID_ALREADY = 0.5, 0.75


@dataclass(frozen=True, slots=True)
class _Turn:
    speaker: str
    text: str


def records(source: Path) -> Iterator[Record]:
    """One record a row; raises SourceUnreadable where a column is missing."""
    number = 0
    for name, file in files(source, ".csv"):
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if missing := [field for field in _FIELDS if field not in (rows.fieldnames or ())]:
                raise SourceUnreadable(f"{source}: has no column {missing[0]}")
            for index, row in enumerate(rows, 1):
                number += 1
                yield Record(f"{name}row {index} (line {rows.line_num})", number, row)


def draft(record: Record, deidentifier: Deidentifier) -> Draft:
    """Raises Refused and NotCleared."""
    row: dict[str, str | None] = record.content
    section = rules().sections.get((row["section_header"] or "").strip().upper())
    if section is None:
        raise Refused("is no section that is known", "section_header")
    raw = list(_turns(row["dialogue"] or "", rules()))
    spoken = [turn.text for turn in raw]
    texts = clear_tree({"section_text": row["section_text"] or "", "dialogue": spoken}, deidentifier)
    note: str = texts["section_text"]
    turns = [_Turn(turn.speaker, text) for turn, text in zip(raw, texts["dialogue"], strict=True)]
    everything = " ".join([note, *(turn.text for turn in turns)])
    age = age_in_years(everything)
    if age is None:
        raise Refused("states no age", "section_text")
    speaker = "family" if age < SPEAKS_FROM and any(turn.speaker == "family" for turn in turns) else "patient"
    own = list(_own(turns, speaker))
    if section.category in (Category.CHIEF_COMPLAINT, Category.ASSOCIATED):
        own = _with_complaint(own)
    statements = own + list(_noted(note, section, own, set(own_words(" ".join(turn.text for turn in turns), ""))))
    told = [statement for statement in statements if USUAL_DISCLOSURE.get(statement.category) in _TOLD]
    if len(told) < _LEAST_FACTS:
        raise Refused(f"fewer than {_LEAST_FACTS} facts that the patient stated", "dialogue")
    return Draft(
        age_years=age,
        sex=sex_of(note) or sex_of(everything),
        source=SOURCE,
        statements=statements,
        diagnoses=[text.rstrip(".") for text in sentences(note)[:1] if section.category is Category.DIAGNOSIS],
        manner=_manner([turn.text for turn in turns if turn.speaker == speaker]),
    )


def _with_complaint(own: list[Statement]) -> list[Statement]:
    """What the patient says first of all is why the patient came."""
    first = next((statement for statement in own if not negations(statement.text)), None)
    return [replace(s, category=Category.CHIEF_COMPLAINT) if s is first else s for s in own]


def _noted(note: str, section: Section, own: list[Statement], talk: set[str]) -> Iterator[Statement]:
    """The note's sentences that the conversation spoke of and that the patient's own words do not say already."""
    for text in (rules().answers["heading"].sub("", part) for part in sentences(note)):
        said = any(_share(text, set(own_words(statement.text, ""))) >= _SAID_ALREADY for statement in own)
        if _share(text, talk) >= _TALKED_ABOUT and not said:
            yield Statement(category_of(text, section.among, section.category), text)


def _turns(dialogue: str, known: Rules) -> Iterator[_Turn]:
    """A line is a turn; one without a known speaker goes on with the one before."""
    speaker = ""
    for line in dialogue.splitlines():
        who, colon, said = line.partition(":")
        found = next((name for name, pattern in known.speakers.items() if colon and pattern.match(who.strip())), "")
        speaker = found or speaker
        if speaker and (text := (said if found else line).strip()):
            yield _Turn(speaker, text)


def _own(turns: list[_Turn], speaker: str) -> Iterator[Statement]:
    known = rules()
    asked = ""
    for turn in turns:
        if turn.speaker == "doctor":
            asked = turn.text
        elif turn.speaker == speaker:
            question = sentences(asked)[-1] if asked else ""
            closed = _closed(question, turn.text) if speaker == "patient" else ""
            if closed:
                yield Statement(category_of(f"{question} {closed}"), closed, spoken=sentence(closed))
            for text in sentences(known.answers["no"].sub("", known.answers["yes"].sub("", turn.text))):
                said = known.answers["lead"].sub("", text).strip()
                if _is_fact(said):
                    category = category_of(said, default=category_of(question))
                    category = category if USUAL_DISCLOSURE.get(category) is None else Category.ASSOCIATED
                    yield Statement(category, said, spoken=sentence(said), cues=tuple(own_words(question, "")[:6]))
            asked = ""


def _closed(question: str, answer: str) -> str:
    """What a yes or a no says in full; of a list ("fever or cough") only a no is clear."""
    known = rules()
    is_no, is_yes = known.answers["no"].match(answer), known.answers["yes"].match(answer)
    if not question.endswith("?") or bool(is_no) == bool(is_yes):
        return ""
    for asks in known.questions:
        if found := asks.pattern.match(question.rstrip("? ")):
            rest = re.sub(r"(?i)\b(your|you're|yourself|you)\b", lambda word: _MINE[word[0].lower()], found["rest"])
            if is_yes and known.answers["vague"].search(rest):
                return ""
            return (asks.no if is_no else asks.yes).format(rest=rest)
    return ""


_MINE = {"your": "my", "you're": "I am", "yourself": "myself", "you": "I"}


def _is_fact(said: str) -> bool:
    """A statement about the patient's health or life: long enough, no chatter, and with a word of content."""
    known = rules()
    whole = len(said.split()) >= _SHORTEST and bool(known.answers["states"].match(said))
    return whole and not known.chatter.search(said) and bool(own_words(said, ""))


def _share(text: str, words: set[str]) -> float:
    own = own_words(text, "")
    return sum(word in words for word in own) / len(own) if own else 0.0


def _manner(said: list[str]) -> Manner | None:
    if not said:
        return None
    known, count = rules(), len(said)
    return Manner(
        turns=count,
        words_per_turn=round(sum(len(text.split()) for text in said) / count, 1),
        fillers=round(sum(bool(known.fillers.search(text)) for text in said) / count, 2),
        hedges=round(sum(bool(known.hedges.search(text)) for text in said) / count, 2),
    )
