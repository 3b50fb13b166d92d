"""Probabilities of given answers.

Invariant: a log-prob is the model's own, never that of a distribution restricted to the choices; the probabilities
are its softmax over the choices. Where first tokens tell the choices apart one engine step scores them all;
otherwise, and for a single choice, the whole text is scored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from inference_svc.engine.requests import Rank


class Scorer(Protocol):
    async def next_token_logprobs(self, prompt: Sequence[int], tokens: Sequence[int], rank: Rank) -> list[float]: ...

    async def text_logprob(self, prompt: Sequence[int], text: Sequence[int], rank: Rank) -> float: ...


@dataclass(frozen=True)
class ChoiceScore:
    logprob: float
    probability: float
    token_count: int


def first_tokens(choices: Sequence[Sequence[int]]) -> list[int] | None:
    """The choices' first tokens where they tell them apart."""
    firsts = [choice[0] for choice in choices]
    return firsts if len(choices) > 1 and len(set(firsts)) == len(firsts) else None


async def choose(
    scorer: Scorer, prompt: Sequence[int], choices: Sequence[Sequence[int]], rank: Rank
) -> list[ChoiceScore]:
    """Scores in the order of the choices, each of which has at least one token."""
    firsts = first_tokens(choices)
    if firsts is not None:
        logprobs = await scorer.next_token_logprobs(prompt, firsts, rank)
        counts = [1] * len(choices)
    else:
        async with asyncio.TaskGroup() as tasks:
            scored = [tasks.create_task(scorer.text_logprob(prompt, choice, rank)) for choice in choices]
        logprobs = [task.result() for task in scored]
        counts = [len(choice) for choice in choices]
    return [
        ChoiceScore(logprob, probability, count)
        for logprob, probability, count in zip(logprobs, softmax(logprobs), counts, strict=True)
    ]


def softmax(logprobs: Sequence[float]) -> list[float]:
    highest = max(logprobs)
    weights = [math.exp(value - highest) for value in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
