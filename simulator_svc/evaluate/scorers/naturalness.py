"""How near to speech the replies are: variety (distinct-n) and length, beside patients' turns where there are any."""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# distinct-n falls with the length of the text, so both sides are measured on the same number of words.
SAMPLE_WORDS = 3000


@dataclass(frozen=True, slots=True)
class Naturalness:
    turns: int
    # Share of different words, and of different pairs of neighbouring words, in samples of SAMPLE_WORDS words.
    distinct_1: float
    distinct_2: float
    # Words in a turn: quartiles.
    length_quartiles: tuple[float, float, float]


def naturalness(replies: Sequence[str]) -> Naturalness | None:
    """None for fewer than two turns."""
    spoken = [re.findall(r"[\w']+", reply.lower()) for reply in replies]
    lengths = [len(words) for words in spoken]
    if len(lengths) < 2:
        return None
    samples = list(_samples(word for words in spoken for word in words))
    quartiles = statistics.quantiles(lengths, n=4)
    return Naturalness(
        turns=len(replies),
        distinct_1=statistics.fmean(_distinct(sample, 1) for sample in samples),
        distinct_2=statistics.fmean(_distinct(sample, 2) for sample in samples),
        length_quartiles=(quartiles[0], quartiles[1], quartiles[2]),
    )


def patient_turns(directory: Path) -> list[str]:
    """The patients' turns of MTS-Dialog's CSV files; empty where there are none."""
    found = []
    for file in sorted(directory.glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as rows:
            for row in csv.DictReader(rows):
                turns = re.split(r"\n\s*(?=[A-Z][\w ]{0,20}:)", row["dialogue"])
                found += [turn.split(":", 1)[1].strip() for turn in turns if turn.strip().startswith("Patient:")]
    return found


def _samples(words: Iterable[str]) -> Iterable[list[str]]:
    """The text cut into pieces of SAMPLE_WORDS words; a shorter rest counts only where there is nothing else."""
    every = list(words)
    whole = len(every) // SAMPLE_WORDS
    if not whole:
        return [every]
    return [every[index * SAMPLE_WORDS : (index + 1) * SAMPLE_WORDS] for index in range(whole)]


def _distinct(words: Sequence[str], n: int) -> float:
    grams = list(zip(*(words[shift:] for shift in range(n)), strict=False))
    return len(set(grams)) / max(1, len(grams))
