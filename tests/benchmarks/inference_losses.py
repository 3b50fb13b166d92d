"""What speculation and quantization change in the answers: nothing, near-ties alone, or a stated share.

Invariant: every comparison is between two engines with the same prompts; nothing is compared with a stored answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.inference_speed import EngineProcess

LOSSLESS_PROMPTS = 200
LOSSLESS_TOKENS = 48
AT_ONCE = 8
# bfloat16 has 8 significant bits: logits between 16 and 32 come in steps of 0.125. Two steps.
NEAR_TIE = 0.25
SAMPLES = 512
# The tokens of an answer that are tested: the first comes from the prompt's pass, these from drafts.
SAMPLED_PLACES = range(1, 6)
LEAST_EXPECTED = 8


@dataclass(frozen=True)
class Difference:
    prompt: int
    place: int
    # Of plain decoding's two likeliest tokens there, in logits.
    margin: float


def differences(
    plain: EngineProcess, other: EngineProcess, prompts: Sequence[list[int]], tokens: int
) -> list[Difference]:
    """The first difference of each answer that differs, greedy."""
    found = []
    for start in range(0, len(prompts), AT_ONCE):
        chunk = prompts[start : start + AT_ONCE]
        ours = other.play(chunk, max_tokens=tokens)["tokens"]
        answer = plain.play(chunk, max_tokens=tokens, margins=True)
        for row, (theirs, got) in enumerate(zip(answer["tokens"], ours, strict=True)):
            place = first_difference(theirs, got)
            if place is not None:
                margin = answer["margins"][row][place] if place < len(theirs) else float("inf")
                found.append(Difference(start + row, place, margin))
    return found


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return None if len(one) == len(other) else min(len(one), len(other))


def sampled_distributions(engine: EngineProcess, prompt: list[int], seed: int) -> list[Counter[int]]:
    """Of the tokens at SAMPLED_PLACES, at temperature 1; -1 where an answer had ended."""
    counts = [Counter[int]() for _ in SAMPLED_PLACES]
    for number in range(0, SAMPLES, 32):
        wanted: dict[str, Any] = {"temperature": 1.0, "seed": seed + number, "max_tokens": SAMPLED_PLACES.stop}
        for row in engine.play([prompt] * 32, **wanted)["tokens"]:
            for place, of_place in zip(SAMPLED_PLACES, counts, strict=True):
                of_place[row[place] if len(row) > place else -1] += 1
    return counts


def same_distribution(one: Counter[int], other: Counter[int]) -> float:
    """The p-value of a two-sample chi-squared test; tokens seen too seldom are counted as one."""
    from scipy.stats import chi2_contingency

    both = one + other
    common = [token for token, count in both.items() if count >= 2 * LEAST_EXPECTED]
    table = [[counts[token] for token in common] for counts in (one, other)]
    rest = [counts.total() - sum(row) for counts, row in zip((one, other), table, strict=True)]
    if sum(rest):
        table = [[*row, left] for row, left in zip(table, rest, strict=True)]
    if len(table[0]) < 2:
        return 1.0
    return float(chi2_contingency(table).pvalue)
