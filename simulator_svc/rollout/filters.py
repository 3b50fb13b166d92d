"""Turns and dialogues that must not be learned from. Plain functions; the words they look for stand in filters.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib import resources
from typing import Any

REPEATED_TURN = "repeated_turn"
ROLE_INVERSION = "role_inversion"
OVER_LONG = "over_long"

_WORD = re.compile(r"[\w']+")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^'\n]*'(?!\w)|\u2018[^\u2019]*\u2019")


@dataclass(frozen=True)
class Filters:
    similarity: float
    least_words: int
    inversions: tuple[re.Pattern[str], ...]

    @classmethod
    def load(cls) -> Filters:
        """Raises at start, with the pattern, if one does not compile."""
        text = resources.files(__package__).joinpath("filters.toml").read_text(encoding="utf-8")
        data: dict[str, Any] = tomllib.loads(text)
        return cls(
            similarity=float(data["repeated_turn"]["similarity"]),
            least_words=int(data["repeated_turn"]["least_words"]),
            inversions=tuple(re.compile(pattern, re.IGNORECASE) for pattern in data["role_inversion"]["patterns"]),
        )

    def reason(self, turn: str, earlier: Sequence[str]) -> str | None:
        """Why the doctor's newest turn is filtered, or None. `earlier` are the doctor's turns before it."""
        if self.inverts_roles(turn):
            return ROLE_INVERSION
        if self.repeats(turn, earlier):
            return REPEATED_TURN
        return None

    def repeats(self, turn: str, earlier: Sequence[str]) -> bool:
        words = _WORD.findall(turn.lower())
        if len(words) < self.least_words:
            return False
        return any(_similarity(words, _WORD.findall(other.lower())) >= self.similarity for other in earlier)

    def inverts_roles(self, turn: str) -> bool:
        said = _QUOTED.sub(" ", turn.replace("\u2019", "'"))
        return any(pattern.search(said) for pattern in self.inversions)


def is_over_long(sequence_tokens: int, new_tokens: int, limit: int) -> bool:
    """Whether a turn of up to new_tokens no longer fits behind sequence_tokens; limit 0 means none is known."""
    return limit > 0 and sequence_tokens + new_tokens > limit


def _similarity(a: Sequence[str], b: Sequence[str]) -> float:
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return matcher.ratio()
