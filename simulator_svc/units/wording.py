"""How else a fact's sentence may be worded without claiming anything else.

Closed, like the claim check: a wording is the sentence itself, word after word in its order, but for classes of words
that claim the same in every sentence (units/data/wordings.toml), for words that a spoken answer leaves out at its
beginning, and for what may stand beside any statement. Nothing is moved, so no subject, side or negation can change
its place. One table makes wordings, tells the model which it may choose from, and recognises them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from random import Random

from simulator_svc.words import any_of, words

_WORDINGS = Path(__file__).parent / "data" / "wordings.toml"
_REACHES = re.compile(
    r"[,;:]|\d|n't\b|\b(?:and|or|but|nor|if|because|no|not|never|none|nobody|nothing|without|hardly|only|left|right|ago|since"
    r"|last|yesterday|one|two|three|four|five|six|seven|eight|nine|ten|\w+teen|\w+ty|hundred|half|once|twice"
    r"|(?:second|minute|hour|day|night|week|month|year|time)s?)\b"
)
# How often a canned wording differs where it may.
_OTHERWISE = 0.5


@dataclass(frozen=True, slots=True)
class Speech:
    """In which of the wordings a patient speaks."""

    # Says what a clinical word means instead of the word.
    lay: bool
    # Says "I do not" for "I don't".
    formal: bool = False


@dataclass(frozen=True, slots=True)
class _Table:
    # By each of its members, in lower case.
    classes: dict[str, tuple[str, ...]]
    # What a patient of little health literacy says instead.
    lay: dict[str, str]
    # Every full form, with its contraction.
    contracted: dict[str, str]
    phrase: re.Pattern[str]
    leave_out: dict[str, frozenset[str]]
    before: tuple[str, ...]
    after: tuple[str, ...]


@cache
def _table() -> _Table:
    data = tomllib.loads(_WORDINGS.read_text(encoding="utf-8"))
    every = [tuple(each) for each in (*data["contractions"], *data["same"], *data["lay"])]
    classes = {member.lower(): each for each in every for member in each}
    if len(classes) != sum(map(len, every)):
        raise ValueError(f"{_WORDINGS.name}: a wording stands in two classes")
    longest_first = sorted(classes, key=len, reverse=True)
    return _Table(
        classes=classes,
        lay={clinical.lower(): plain for clinical, plain in data["lay"]},
        contracted={full.lower(): short for full, short in data["contractions"]},
        phrase=any_of(map(re.escape, longest_first), re.IGNORECASE),
        leave_out={begin: frozenset(nexts) for begin, nexts in data["leave_out"].items()},
        before=tuple(data["beside"]["before"]),
        after=tuple(data["beside"]["after"]),
    )


def words_before() -> tuple[str, ...]:
    return _table().before


def words_after() -> tuple[str, ...]:
    return _table().after


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The bare words, each class by its first member."""
    table = _table()
    bare = " ".join(words(text))
    return table.phrase.sub(lambda match: table.classes[match.group()][0].lower(), bare)


@lru_cache(maxsize=4096)
def forms(sentence: str) -> tuple[str, ...]:
    """The canonical wordings that claim what the sentence claims: the whole one first, then the shorter answer."""
    whole = canonical(sentence)
    for begin, nexts in _table().leave_out.items():
        rest = whole.removeprefix(f"{begin} ")
        following = rest.split(" ", 1)[0]
        if rest != whole and (following in nexts or ("#" in nexts and following.isdigit())):
            return whole, rest
    return (whole,)


def clipped(sentence: str) -> str:
    """As a short answer: "Two hours ago." for "It began two hours ago."; the sentence itself, where nothing may go."""
    _, *rest = forms(sentence)
    if not rest:
        return sentence
    starts = [found.start() for found in re.finditer(r"[^\s]+", sentence)]
    cut = next((at for at in starts[1:] if canonical(sentence[at:]) == rest[0]), 0)
    return capitalised(sentence[cut:]) if cut else sentence


@lru_cache(maxsize=2048)
def _slots(sentence: str, speech: Speech) -> tuple[tuple[str, ...], ...]:
    """The sentence in pieces, each with its alternatives; what has none stands alone."""
    table = _table()
    pieces: list[tuple[str, ...]] = []
    end = 0
    for match in table.phrase.finditer(sentence):
        own = match.group()
        pieces.append((sentence[end : match.start()],))
        pieces.append(_alternatives(own, speech))
        end = match.end()
    return (*pieces, (sentence[end:],))


def _alternatives(own: str, speech: Speech) -> tuple[str, ...]:
    table = _table()
    members = table.classes[own.lower()]
    if members[0].lower() in table.contracted:
        return (members[0] if speech.formal else members[1],)
    if members[0].lower() in table.lay:
        return (members[1],) if speech.lay else (own,)
    return own, *(each for each in members if each.lower() != own.lower())


def reworded(sentence: str, speech: Speech, random: Random) -> str:
    """One of its wordings, by chance; in plain words for a lay patient."""
    chosen = [
        random.choice(slot[1:]) if len(slot) > 1 and random.random() < _OTHERWISE else slot[0]
        for slot in _slots(uncapitalised(sentence), speech)
    ]
    return capitalised("".join(chosen))


def pattern(sentence: str, speech: Speech, capital: bool) -> str:
    """A regular expression of its wordings, for the model to choose among."""
    slots = [slot for slot in _slots(uncapitalised(sentence), speech) if slot != ("",)]
    if capital:
        slots[0] = tuple(map(capitalised, slots[0]))
    return "".join(map(_one_of, slots))


def _one_of(alternatives: Sequence[str]) -> str:
    escaped = [re.sub(r"([.^$*+?{}\[\]\\|()/])", r"\\\1", each) for each in alternatives]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def uncapitalised(text: str) -> str:
    """As a sentence goes on after "Well,": I stays I, and so do names and abbreviations."""
    first = text.split(" ", 1)[0]
    keeps = first.split("'")[0] in ("I", "Doctor", "Mum", "Dad", "Mom", "Grandma") or first[1:] != first[1:].lower()
    return text if keeps else text[:1].lower() + text[1:]


def joined(sentences: Sequence[str], runs_on: bool) -> list[str]:
    """Several statements in a row; of a patient who runs on, two short ones become one."""
    parts: list[str] = []
    for sentence in sentences:
        if runs_on and parts and is_short(parts[-1]) and is_short(sentence):
            parts[-1] = f"{parts[-1][:-1]}, and {uncapitalised(sentence)}"
        else:
            parts.append(sentence)
    return parts


def is_short(sentence: str) -> bool:
    """One clause with a full stop that holds nothing whose reach "and" could stretch: a denial, a number, a time."""
    return sentence.endswith(".") and not _REACHES.search(sentence.lower())
