"""Text as bare words and as sentences: one notion of both, whoever says it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_END = re.compile(r"(?<=[.!?])[\s\"']+|\n+")


def words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.replace("\u2019", "'").lower()))


def split_sentences(text: str) -> list[str]:
    return [part.strip() for part in _END.split(text) if part.strip()]


def any_of(alternatives: Iterable[str], flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Any of these regular expressions as whole words, the first that fits; none of nothing."""
    body = "|".join(alternatives)
    return re.compile(rf"(?<![\w'])(?:{body})(?![\w'])" if body else r"(?!)", flags)
