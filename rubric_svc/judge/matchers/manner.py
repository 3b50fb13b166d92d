"""Matchers of how the doctor speaks: empathy, plain words, length, form, and whose part is played."""

from __future__ import annotations

import re

from rubric_svc.judge.address import without_address
from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.matchers.base import Terms, affirmed, earliest, hits_in, matcher, phrases
from rubric_svc.judge.text import Span, closed, negated, questions, sentences, words

_LISTED = re.compile(r"^\s*(?:\d+[.)]|[-*\u2022])\s+", re.M)
_AVOIDED = re.compile(r"\b(?:avoid|stay away from|keep away from)\s+(?:\w+\s+){0,3}$", re.I)
_BLANK = re.compile(r"\[[A-Za-z][A-Za-z' ]{1,30}\]|<[a-z][a-z' ]{1,30}>|_{3,}", re.I)
_COPIED_WORDS = 8
_LONG_WORD, _SHORTEST_TAKEN_UP = 4, 3
# "To hear that and not be able to help, that's awful" denies nothing.
_DENIED = 2


@matcher(default="empathy")
def empathy(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Words that take up what the patient feels; not denied, and not an excuse."""
    return earliest(span for _, span in affirmed(turn, terms, reach=_DENIED))


@matcher(default="reassurance")
def reassures(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Offers company and a way forward; a promise of a good outcome is false_reassurance."""
    return earliest(span for _, span in affirmed(turn, terms))


@matcher(default="jargon")
def uses_jargon(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """A technical word that the same sentence does not explain."""
    explained = phrases("explained")
    for sentence in sentences(turn.text):
        for hit in terms.hits(sentence.text):
            rest = sentence.text[hit.end() :]
            before = sentence.text[: hit.start()]
            if any(explained.hits(rest)) or any(explained.hits(before)) or re.match(r"\s*\(", rest):
                continue
            if before.rstrip().endswith("("):
                continue
            return Span(sentence.span.start + hit.start(), sentence.span.start + hit.end())
    return None


@matcher(options=("n",))
def longer_than(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """More than `n` words."""
    return Span(0, min(len(turn.text), 60)) if len(words(turn.text)) > terms.option("n", 80) else None


@matcher(options=("min",), default="advice")
def instruction_dump(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """At least `min` sentences or list items of instruction."""
    asked = questions(turn.text)
    spans = []
    for sentence in sentences(turn.text):
        text = _LISTED.sub("", sentence.text)
        opening = " ".join(text.split()[:6])
        if any(q.sentence == sentence.span for q in asked):
            continue
        listed = bool(_LISTED.match(sentence.text + " ")) or bool(re.match(r"^\s*\d+[.)]?\s", sentence.text))
        if listed or any(
            hit.start() < len(opening) and not words(opening[: hit.start()]) for hit in terms.hits(opening)
        ):
            spans.append(sentence.span)
    return Span(spans[0].start, spans[-1].end) if len(spans) >= terms.option("min", 3) else None


@matcher()
def finished_turn(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Ends as a sentence does, and says something."""
    found = sentences(turn.text)
    return found[-1].span if found and closed(turn.text) else None


@matcher(default="role_inversion")
def role_inversion(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Speaks as the patient, or writes the patient's lines."""
    spoken = without_address(evidence.dialogue[turn.index].text, doctor=True)
    written = re.search(r"^[ \t*]*(?:patient|user)[ \t*]*:", spoken, re.I | re.M)
    if written:
        return Span(written.start(), written.end())
    hits = (
        Span(sentence.span.start + hit.start(), sentence.span.start + hit.end())
        for sentence in sentences(turn.text)
        for hit in terms.hits(sentence.text)
        if not sentence.text[: hit.start()].rstrip().endswith('"')
    )
    return earliest(hits)


@matcher(default="stop_words")
def refers_to_patient(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Takes up a word of what the patient has just said, or what the patient feels."""
    said = {
        _stem(w)
        for w in words(evidence.patient_before(turn))
        if len(w) >= _SHORTEST_TAKEN_UP and not any(terms.hits(w))
    }
    spans = (
        Span(match.start(), match.end())
        for match in re.finditer(r"[A-Za-z0-9']+", turn.text)
        if _stem(match.group().lower()) in said
    )
    felt = empathy(evidence, turn, phrases("empathy")) if said else None
    return earliest(spans) or felt


def _stem(word: str) -> str:
    """Takes "vomited" for "vomiting"."""
    return re.sub(r"(?:ies|ied|ing|ed|es|s|y|e)$", "", word) if len(word) > _LONG_WORD else word


@matcher(options=("n",))
def parrots(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Copies `n` or more words in a row from an earlier turn of either side."""
    n = int(terms.option("n", _COPIED_WORDS))
    known = set()
    for earlier in evidence.dialogue[: turn.index]:
        said = words(earlier.text)
        known |= {tuple(said[i : i + n]) for i in range(len(said) - n + 1)}
    tokens = list(re.finditer(r"[a-z0-9]+(?:'[a-z]+)?", turn.text.lower()))
    for i in range(len(tokens) - n + 1):
        if tuple(token.group() for token in tokens[i : i + n]) in known:
            return Span(tokens[i].start(), tokens[i + n - 1].end())
    return None


@matcher(default="autonomy")
def respects_autonomy(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Asks leave, or for the patient's own view and wishes."""
    spans = (
        Span(sentence.span.start + hit.start(), sentence.span.start + hit.end())
        for sentence in sentences(turn.text)
        for hit in terms.hits(sentence.text)
        if not negated(sentence.text, hit.start(), hit.end()) or "mind" in hit.group().lower()
    )
    return earliest(spans)


@matcher(needs_terms=True)
def mentions(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Speaks of a term, in a statement or a question."""
    return earliest(
        span
        for sentence in sentences(turn.text)
        for span in hits_in(turn.text, sentence.span, terms)
        if not negated(sentence.text, span.start - sentence.span.start, span.end - sentence.span.start)
    )


@matcher(needs_terms=True)
def states(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Says it: not denied, not asked, and not what the patient should keep away from."""
    return earliest(
        span
        for sentence, span in affirmed(turn, terms)
        if not _AVOIDED.search(sentence.text[: span.start - sentence.span.start])
    )


@matcher()
def placeholder(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """A blank left to be filled in: [Name], <insert date>, ____."""
    blank = _BLANK.search(turn.text)
    return Span(blank.start(), blank.end()) if blank else None
