"""Text as the scorers read it: sentences of tokens, each a stem with its kind and whether it is denied.

Written apart from the claim check of the units under test and sharing nothing with it, so that an error in the one does
not hide in the other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

_WORDS = Path(__file__).parent / "data" / "words.toml"
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\s]+|\n+")
_TOKEN = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[,;:]")
_SUBJECTS = frozenset(
    {"i", "it", "my", "he", "she", "they", "we", "the", "you", "his", "her", "their", "our", "that", "this", "there"}
)
# "Three times a week" for three nights a week.
_TIMES = "time"
# A thing of a list has no more words than this.
_LISTED = 3


class Kind(StrEnum):
    """What a token could claim. FUNCTION claims nothing, WORD nothing that the scorers know by itself."""

    FUNCTION = "function"
    NUMBER = "number"
    UNIT = "unit"
    SIDE = "side"
    TIME = "time"
    FAMILY = "family"
    BODY = "body"
    SYMPTOM = "symptom"
    DRUG = "drug"
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Token:
    stem: str
    kind: Kind
    denied: bool
    # Of a number: the unit beside it, or nothing.
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """`asks`: it ends in a question mark. `hedged`: it says that the speaker does not know, or only fears.

    `echo`: it is what a bare yes or no says, in the words of the question.
    """

    text: str
    tokens: tuple[Token, ...]
    asks: bool
    hedged: bool
    echo: bool = False

    @property
    def content(self) -> frozenset[str]:
        return frozenset(token.stem for token in self.tokens if token.kind is not Kind.FUNCTION)


def plain(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+(?:['.][^\W_]+)*", text.replace("\u2019", "'").lower()))


@lru_cache(maxsize=65536)
def read(text: str) -> tuple[Sentence, ...]:
    return tuple(_sentence(part.strip()) for part in _SENTENCE.split(text.replace("\u2019", "'")) if part.strip())


def same_number(said: Token, own: Token) -> bool:
    """Equal, and in the same unit. A reply may leave the unit out; a fact without one has nothing to do with time."""
    if said.stem != own.stem or said.unit == own.unit or said.unit in ("", _TIMES):
        return said.stem == own.stem
    return not own.unit and said.unit not in words().durations


def _sentence(text: str) -> Sentence:
    low = f" {plain(text)} "
    return Sentence(
        text=text,
        tokens=tuple(_with_units(_tokens(text))),
        asks=text.endswith("?"),
        hedged=any(f" {hedge} " in low for hedge in words().hedges),
    )


def _tokens(text: str) -> list[Token]:
    known = words()
    found: list[Token] = []
    denied = False
    low = known.idioms.sub(" ", text.lower()).replace("%", " percent ").replace("½", " half ")
    parts = _TOKEN.findall(known.synonyms.sub(_canonical, low))
    for index, part in enumerate(parts):
        following = parts[index + 1] if index + 1 < len(parts) else ""
        if part in ",;:":
            denied = denied and part == "," and not _new_statement(parts[index + 1 :])
            continue
        if part in known.contrasts or (part == "and" and _is_subject(following)):
            denied = False
        if part in known.negators or part.endswith("n't"):
            denied = True
            continue
        if part in known.opposites:
            found.append(Token(known.opposites[part], known.kind(part), not denied))
            continue
        number = _number(part, following, parts[index - 1] if index else "")
        if number is not None:
            found.append(Token(f"{number:g}", Kind.NUMBER, denied))
        else:
            found.append(Token(stem(part), known.kind(part), denied))
    return _joined_numbers(found)


def _new_statement(after: Sequence[str]) -> bool:
    """What follows a comma: "no fever, cough or rash" goes on denying, "no fever, and I cough" does not."""
    words_after = list(takewhile(lambda part: part not in ",;:", after))
    conjoined = words_after[:1] in (["and"], ["so"], ["but"])
    first = words_after[1 if conjoined else 0 :]
    return bool(first) and (_is_subject(first[0]) or (conjoined and len(first) > _LISTED))


def _is_subject(word: str) -> bool:
    return word.partition("'")[0] in _SUBJECTS


def _number(part: str, following: str, before: str) -> float | None:
    if part[0].isdigit():
        return float(part.replace(",", "."))
    value = words().numbers.get(part)
    # "this one", "no one": a pronoun unless something is counted.
    if part == "one" and before in ("no", "any", "some", "every", "this", "that", "which"):
        return None
    if part == "one" and words().kind(following or "the") in (Kind.FUNCTION, Kind.WORD):
        return None
    return value


def _joined_numbers(tokens: list[Token]) -> list[Token]:
    """Twenty five as 25, two hundred as 200."""
    joined: list[Token] = []
    for token in tokens:
        if token.kind is Kind.NUMBER and joined and joined[-1].kind is Kind.NUMBER:
            before, value = float(joined[-1].stem), float(token.stem)
            if before in range(20, 100, 10) and 0 < value < 10 and value.is_integer():
                joined[-1] = Token(f"{before + value:g}", Kind.NUMBER, token.denied)
                continue
            if value in (100, 1000) and 0 < before < 100:
                joined[-1] = Token(f"{before * value:g}", Kind.NUMBER, token.denied)
                continue
        joined.append(token)
    return joined


def _with_units(tokens: list[Token]) -> list[Token]:
    known = words().units
    named: list[Token] = []
    for index, token in enumerate(tokens):
        unit = ""
        if token.kind is Kind.NUMBER:
            # "two or three weeks", "three long weeks"
            near = tokens[index + 1 : index + 4]
            unit = next((other.stem for other in near if other.stem in known), "")
        named.append(Token(token.stem, token.kind, token.denied, unit))
    return named


@dataclass(frozen=True, eq=False)
class Words:
    kinds: tuple[tuple[Kind, re.Pattern[str]], ...]
    drug_endings: tuple[str, ...]
    negators: frozenset[str]
    contrasts: frozenset[str]
    hedges: tuple[str, ...]
    numbers: dict[str, float]
    units: frozenset[str]
    durations: frozenset[str]
    affirmative: frozenset[str]
    negative: frozenset[str]
    same: dict[str, str]
    synonyms: re.Pattern[str]
    opposites: dict[str, str]
    idioms: re.Pattern[str]
    lookalikes: dict[int, str]
    leet: dict[int, str]

    @lru_cache(maxsize=32768)  # noqa: B019  (one object for the life of the process)
    def kind(self, word: str) -> Kind:
        for kind, pattern in self.kinds:
            if pattern.fullmatch(word):
                return kind
        if len(word) > 6 and word.endswith(self.drug_endings):
            return Kind.DRUG
        return Kind.WORD


@cache
def words() -> Words:
    data: dict[str, Any] = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
    same = {other: group[0] for group in data["synonyms"]["groups"] for other in group[1:]}
    longest_first = sorted(same, key=len, reverse=True)
    ordered = (
        (Kind.FUNCTION, "function"), (Kind.UNIT, "units"), (Kind.TIME, "times"), (Kind.SIDE, "sides"),
        (Kind.FAMILY, "family"), (Kind.DRUG, "drugs"), (Kind.SYMPTOM, "symptoms"), (Kind.BODY, "body"),
    )  # fmt: skip
    return Words(
        kinds=tuple((kind, _any_of(data[name])) for kind, name in ordered),
        drug_endings=tuple(data["drug_endings"]),
        negators=frozenset(data["negators"]),
        contrasts=frozenset(data["contrasts"]),
        hedges=tuple(map(plain, data["hedges"])),
        numbers={name: float(value) for name, value in data["numbers"].items()},
        units=frozenset(stem(unit.rstrip("*")) for unit in data["units"]),
        durations=frozenset(stem(unit) for unit in data["durations"]),
        affirmative=frozenset(data["affirmative"]),
        negative=frozenset(data["negative"]),
        same=same,
        synonyms=_phrases(longest_first),
        opposites={word: stem(other) for other, listed in data["opposites"].items() for word in listed},
        idioms=_phrases(sorted(data["idioms"], key=len, reverse=True)),
        lookalikes=str.maketrans(data["lookalikes"]),
        leet=str.maketrans(data["leet"]),
    )


def _canonical(match: re.Match[str]) -> str:
    return words().same[match.group(0)]


def _phrases(longest_first: list[str]) -> re.Pattern[str]:
    return re.compile(r"(?<![\w'])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w'])")


def _any_of(listed: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word).replace(r"\*", r"[\w']*") for word in listed))


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Crude: vomiting, vomited and vomits share one. No two words of opposite meaning do."""
    word = word.removesuffix("'s")
    for ending in ("ing", "ed", "ies", "es", "s", "ly", "ness"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeious":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word
