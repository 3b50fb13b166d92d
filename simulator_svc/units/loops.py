"""Does a doctor say the same once more? By the words that carry something, not by the wording.

"Do you take any medicines?" and "What medications are you taking?" are the same; the same thanks before a new question
are not, nor is "are the feet stiff?" after "are the hands stiff?".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import takewhile
from pathlib import Path

from simulator_svc.units.cues import phrase_pattern
from simulator_svc.units.spoken import Sentence, heard

_DATA = Path(__file__).parent / "data" / "speech_acts.toml"
# Of the words of the later one, so many stood in the earlier.
_SAME_QUESTION = 0.7
_SAME_STATEMENT = 0.6
# And of all words of two turns that ask nothing, so many are in both.
_SAME_WORDS = 0.6
# A question with one such word is not the one that had more than so many ("is it new?", of the pain in neck and back).
_MORE_WORDS = 2


@dataclass(frozen=True, slots=True)
class _Rules:
    courtesies: re.Pattern[str]
    fillers: re.Pattern[str]
    asks_for: re.Pattern[str]
    common: frozenset[str]
    pronouns: frozenset[str]
    same: tuple[re.Pattern[str], ...]


@cache
def _rules() -> _Rules:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))["loop"]
    return _Rules(
        courtesies=phrase_pattern(data["courtesies"]),
        fillers=phrase_pattern(data["fillers"]),
        asks_for=phrase_pattern(data["asks_for"]),
        common=frozenset(data["common"]),
        pronouns=frozenset(data["pronouns"]),
        same=tuple(map(phrase_pattern, data["same"])),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One question or statement: what it asks for ("how long"), and the stems of the words that carry something."""

    question: bool
    asks_for: str
    stems: frozenset[str]
    words: frozenset[str]


def repeats(turns: Sequence[str]) -> int:
    """How many earlier turns the last one repeats.

    A question that names nothing ("how old are they?") is about what was said just before, so that it repeats only the
    turns that came right before it.
    """
    last = turns[-1]
    same = [
        _same(_points(last), _points(earlier)) or _same_words(_statement(last), _statement(earlier))
        for earlier in reversed(turns[:-1])
    ]
    if all(point.question and not point.stems and point.words & _rules().pronouns for point in _points(last)):
        same = list(takewhile(bool, same))
    return sum(same)


@lru_cache(maxsize=512)
def _points(turn: str) -> tuple[Point, ...]:
    """The questions of a turn; of one that asks nothing the statements, without its manners if it has more."""
    sentences = heard(turn)
    asked = [_without_manners(sentence) for sentence in sentences if sentence.question]
    said = asked or [other for other in sentences if not _mannerly(other.text)] or sentences
    points = tuple(map(_point, said))
    return tuple(point for point in points if point.stems or point.asks_for) or points[-1:]


def _without_manners(question: Sentence) -> Sentence:
    """ "I'm sorry, how old was he?" asks how old he was."""
    meant = tuple(part for part in question.parts if not _mannerly(part))
    return Sentence(True, (meant,)) if meant else question


def _mannerly(said: str) -> bool:
    return bool(_rules().courtesies.match(said) or _rules().fillers.fullmatch(said))


def _same(last: Sequence[Point], earlier: Sequence[Point]) -> bool:
    if not last or not earlier:
        return not last and not earlier
    return all(any(_says_no_more(point, other) for other in earlier) for point in last)


def _same_words(last: frozenset[str], earlier: frozenset[str]) -> bool:
    return bool(last and earlier) and len(last & earlier) >= _SAME_WORDS * len(last | earlier)


@lru_cache(maxsize=512)
def _statement(turn: str) -> frozenset[str]:
    """Every word of a turn that asks nothing: manners, and nothing else, may go round in circles too."""
    sentences = heard(turn)
    asks = any(sentence.question for sentence in sentences)
    return frozenset() if asks else frozenset(word for sentence in sentences for word in sentence.text.split())


def _says_no_more(point: Point, other: Point) -> bool:
    if point.asks_for and other.asks_for and point.asks_for != other.asks_for:
        return False
    if not point.stems:
        return bool(point.asks_for and point.asks_for == other.asks_for) or _same_words(point.words, other.words)
    if (
        len(point.stems) == 1
        and point.question
        and (point.asks_for != other.asks_for or len(other.stems) > _MORE_WORDS)
    ):
        return False
    bound = _SAME_QUESTION if point.question else _SAME_STATEMENT
    return len(point.stems & other.stems) >= bound * len(point.stems)


def _point(sentence: Sentence) -> Point:
    rules = _rules()
    asked = rules.asks_for.search(sentence.text)
    meant = [word for word in rules.asks_for.sub(" ", sentence.text).split() if word not in rules.common]
    return Point(
        sentence.question,
        asked.group().removesuffix("'s") if asked else "",
        frozenset(_stem(word, rules) for word in meant),
        frozenset(sentence.text.split()),
    )


def _stem(word: str, rules: _Rules) -> str:
    """Crude on purpose: medicine, medicines and medications share it."""
    for number, group in enumerate(rules.same):
        if group.fullmatch(word):
            return f"={number}"
    return re.sub(r"(?:'s|ing|ed|es|s|e|y)$", "", word)[:6] if len(word) > 3 else word
