"""Sentences, questions and negation in a doctor's words.

Invariant: every span indexes the text that came in, so an explanation can quote it. Only what the doctor says counts:
lines that a model wrote in the patient's name ("Patient: ...") are blanked out, not removed, to keep the offsets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_STRAIGHT = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_ABBREVIATIONS = ("dr", "mr", "mrs", "ms", "e.g", "i.e", "etc", "vs", "approx", "no")
_SENTENCE_END = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)|\n+")
_OTHER_SPEAKER = re.compile(
    r"^[ \t*]*(?:patient|user)[ \t*]*:.*?(?=^[ \t*]*(doctor|dr|assistant)\b.*:|\Z)", re.I | re.M | re.S
)
_CLOSED = re.compile(r"[.!?][\"')\]*]*\s*$")

_AUXILIARY = (
    r"(?:do|does|did|is|are|was|were|am|have|has|had|can|could|would|will|should|may|might|"
    r"don't|doesn't|didn't|isn't|aren't|wasn't|weren't|haven't|hasn't|hadn't|can't|couldn't|won't)"
)
_SUBJECT = (
    r"(?:you|your|it|this|that|these|those|there|the|they|he|she|i|we|"
    r"any|anyone|anybody|anything|either|someone|somebody)"
)
# What stands between the question word and the verb of a question: "how bad is", not "what I think is".
_BETWEEN = (
    r"(?:(?!(?:i|you|we|he|she|it|they|the|this|that|these|those|a|an|your|my|our|his|her|their)\b)[a-z]+\s+){0,4}?"
)
# "when did", "what kind of pain is", "how severe is"; not "when you get home" or "what I think is".
_INTERROGATIVE = (
    rf"(?:(?:when|where|why|who|what|which|how)\s+{_BETWEEN}{_AUXILIARY}\b|(?:what|where|how|when|who)'s\b|"
    rf"(?:what|which|who)\s+(?:makes|helps|brings|brought|seems|happens|happened|caused|triggers|other|else)\b|"
    rf"(?:how|what)\s+about\b|(?:what|which)\s+(?:sort|kind|type|colour|color|part|side)s?\s+of\b|{_AUXILIARY}\s+(?:not\s+)?{_SUBJECT}\b|(?:any|anything|anyone|anybody)\s+\w+|"
    rf"in\s+(?:what|which)\s+\w+|(?:since|for|from|to|at|on)\s+(?:when|which|what|how)\b)"
)
_REQUEST = (
    r"(?:(?:please|just|now)\s+)?(?:tell|show|give)\s+(?:me|us)\b|"
    r"(?:please\s+)?(?:describe|explain|clarify|rate|walk me through)\b|let\s+(?:me|us)\s+know\b|"
    r"(?:i|we)(?:'d|\s+would)\s+(?:also\s+)?(?:like|love|want)\s+to\s+(?:know|ask|hear|understand|learn)\b|"
    r"(?:i|we)\s+(?:also\s+)?(?:need|want|wanted)\s+to\s+(?:know|ask|understand)\b|"
    r"(?:let\s+me|may\s+i|can\s+i|could\s+i)\s+ask\b|"
    r"(?:i'm|i\s+am|i)\s+(?:was\s+)?wonder(?:ing)?\s+(?:if|whether|when|what|how|where)\b"
)
_CLAUSE_START = (
    r"(?:^|[,;:\-(\"]\s*|\b(?:and|but|so|or|also|then|now|first|next|okay|ok|well|doctor)\b[,\s]+|"
    r"(?:again|please)[,\s]+)\s*"
)
_ASKS = re.compile(rf"{_CLAUSE_START}(?P<start>{_INTERROGATIVE}|{_REQUEST})", re.I)
_ASKS_ANYWHERE = re.compile(rf"\b(?P<start>{_REQUEST}|{_INTERROGATIVE})", re.I)
_NOT_ASKED = re.compile(r"\b(?:not|n't|never|without|no need to)\s+(?:\w+\s+){0,3}$", re.I)
# "When you get home ...", "From what you say ..." and "Any questions can wait" are statements unless marked.
_BARE = re.compile(
    r"^(?:any|anything|anyone|anybody|how about|what about|(?:since|for|from|to|at|on) (?:when|which|what|how))\b", re.I
)

_NEGATION = re.compile(
    r"\b(?:no|not|never|without|nor|neither|cannot|rule(?:s|d)?\s+out|ruling\s+out|exclud(?:e|es|ed|ing)|unlikely|"
    r"rather\s+than|instead\s+of|deny|denies|denied|absence\s+of|free\s+of|isn't|aren't|wasn't|weren't|don't|doesn't|"
    r"didn't|can't|couldn't|won't|wouldn't|shouldn't|haven't|hasn't|hadn't)\b",
    re.I,
)
_NEGATED_AFTER = re.compile(
    r"^\W*(?:\w+\W+){0,2}?(?:is|are|was|were|seems|looks|has\s+been|have\s+been|can\s+be)\s+(?:\w+\s+)?"
    r"(?:not\b|unlikely\b|less\s+likely\b|ruled\s+out\b|excluded\b|absent\b)|^\W*(?:isn't|aren't|wasn't)\b",
    re.I,
)
_TURNING_POINT = re.compile(r"[;:]|\b(?:but|however|although|though|yet|so|because|and\s+(?:i|we|you|it|this)\b)", re.I)
REACH = 6
_ELLIPTIC_WORDS = 9
_ELLIPTIC_COMMAS = 2
# What leads up to the first clause that asks belongs to it, unless it states something itself.
_STATES = re.compile(
    r"\b(?:i|i'm|i'll|i'd|i've|you're|you've|you'll|we'll|that's|it's|we|you|he|she|they|it|this|that|"
    r"is|are|was|were|will|have|has)\b",
    re.I,
)
_LONGEST_LEAD = 10


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Sentence:
    span: Span
    text: str
    marked: bool
    """Ends with a question mark."""


@dataclass(frozen=True, slots=True)
class Question:
    """From the first word that asks to the sentence's end. `formed`: it has a verb that asks, or asks to be told."""

    span: Span
    text: str
    sentence: Span
    formed: bool

    @property
    def clear(self) -> bool:
        """Can be answered: formed, or a short one ("Any fever?", "Worse at night?"), not a list of key words."""
        short = 2 <= len(words(self.text)) <= _ELLIPTIC_WORDS and self.text.count(",") <= _ELLIPTIC_COMMAS
        return self.formed or short


def plain(text: str) -> str:
    """The same length as the text: straight quotes, and blanks where the doctor does not speak."""
    straight = text.translate(_STRAIGHT)
    return _OTHER_SPEAKER.sub(lambda match: re.sub(r"\S", " ", match.group()), straight)


@lru_cache(maxsize=4096)
def sentences(text: str) -> tuple[Sentence, ...]:
    """Of plain text."""
    found: list[Sentence] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        before = text[start : end.start()].rsplit(maxsplit=1)
        if end.group().startswith(".") and before and before[-1].lower().lstrip("(\"'") in _ABBREVIATIONS:
            continue
        _add(found, text, start, end.end(), "?" in end.group())
        start = end.end()
    _add(found, text, start, len(text), False)
    return tuple(found)


def _add(found: list[Sentence], text: str, start: int, end: int, marked: bool) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if re.search(r"\w", text[start:end]):
        found.append(Sentence(Span(start, end), text[start:end], marked))


@lru_cache(maxsize=4096)
def questions(text: str) -> tuple[Question, ...]:
    """One for each clause that asks; a marked sentence with no clause that asks is one question as a whole."""
    found: list[Question] = []
    for sentence in sentences(text):
        starts = [match.start("start") for match in _ASKS.finditer(sentence.text) if _truly_asks(sentence, match)]
        if sentence.marked and not starts:
            starts = [m.start("start") for m in _ASKS_ANYWHERE.finditer(sentence.text) if _truly_asks(sentence, m)][:1]
        formed = bool(starts)
        if sentence.marked and not formed:
            starts = [0]
        starts = _separate(sentence.text, starts)
        if sentence.marked and starts and _leads_up(sentence.text[: starts[0]]):
            starts[0] = 0
        for start, end in pairwise([*starts, len(sentence.text)]):
            span = Span(sentence.span.start + start, sentence.span.start + end)
            found.append(Question(span, text[span.start : span.end], sentence.span, formed))
    return tuple(found)


def _truly_asks(sentence: Sentence, match: re.Match[str]) -> bool:
    start = match.start("start")
    if not sentence.marked and _BARE.match(sentence.text[start:]):
        return False
    return not _NOT_ASKED.search(sentence.text[:start])


def _leads_up(lead: str) -> bool:
    """ "And your parents, any trouble?" asks about the parents; in "I see, any trouble?" only the rest asks."""
    return len(lead.split()) <= _LONGEST_LEAD and not _STATES.search(lead)


def _separate(text: str, starts: list[int]) -> list[int]:
    """ "Can you tell me when it started" asks once: starts less than four words apart are one question."""
    kept: list[int] = []
    for start in starts:
        if not kept or len(text[kept[-1] : start].split()) >= 4:
            kept.append(start)
    return kept


def negated(sentence: str, start: int, end: int, reach: int = REACH) -> bool:
    """Whether what stands at [start, end) of the sentence is denied, up to `reach` words before or just after."""
    before = sentence[:start]
    turns = list(_TURNING_POINT.finditer(before))
    clause = before[turns[-1].end() :] if turns else before
    near = " ".join(clause.split()[-reach:])
    return bool(_NEGATION.search(near) or _NEGATED_AFTER.match(sentence[end:]))


def closed(text: str) -> bool:
    """Ends as a sentence does, not cut off in the middle."""
    return bool(_CLOSED.search(text))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())
