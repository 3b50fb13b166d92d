"""Which scoring a choice gets, and what its numbers mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from inference_svc.choose import choose, first_tokens, softmax
from inference_svc.engine.requests import Rank


class TableScorer:
    """log P(token) by table; remembers how it was asked."""

    def __init__(self, table: dict[int, float]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def next_token_logprobs(self, prompt: Sequence[int], tokens: Sequence[int], rank: Rank) -> list[float]:
        self.asked.append("next")
        return [self.table[token] for token in tokens]

    async def text_logprob(self, prompt: Sequence[int], text: Sequence[int], rank: Rank) -> float:
        self.asked.append("text")
        return sum(self.table[token] for token in text)


SCORER = {1: math.log(0.2), 2: math.log(0.1), 3: math.log(0.5)}


def test_first_tokens_that_differ_are_scored_in_one_step() -> None:
    assert first_tokens([[1, 2], [2, 2]]) == [1, 2]
    assert first_tokens([[1, 2], [1, 3]]) is None
    assert first_tokens([[1, 2]]) is None


async def test_logprob_is_the_models_own_and_probability_among_the_choices() -> None:
    scorer = TableScorer(SCORER)
    scores = await choose(scorer, [9], [[1, 3], [2]], Rank.JUDGE)
    assert scorer.asked == ["next"]
    assert [s.logprob for s in scores] == [math.log(0.2), math.log(0.1)]
    assert [s.probability for s in scores] == pytest.approx([2 / 3, 1 / 3])
    assert [s.token_count for s in scores] == [1, 1]


async def test_choices_with_one_beginning_are_scored_whole() -> None:
    scorer = TableScorer(SCORER)
    scores = await choose(scorer, [9], [[1, 2], [1, 3]], Rank.JUDGE)
    assert scorer.asked == ["text", "text"]
    assert [s.probability for s in scores] == pytest.approx([1 / 6, 5 / 6])
    assert [s.token_count for s in scores] == [2, 2]


async def test_a_single_choice_is_a_score_of_its_whole_text() -> None:
    (score,) = await choose(TableScorer(SCORER), [9], [[1, 2, 3]], Rank.JUDGE)
    assert score.logprob == pytest.approx(math.log(0.2 * 0.1 * 0.5))
    assert (score.probability, score.token_count) == (1.0, 3)


def test_probabilities_add_up_however_small_the_logprobs_are() -> None:
    assert softmax([-1e4, -1e4 - math.log(3)]) == pytest.approx([0.75, 0.25])
    assert math.fsum(softmax([-900.0, -5.0, -0.1, -3000.0])) == pytest.approx(1.0)
