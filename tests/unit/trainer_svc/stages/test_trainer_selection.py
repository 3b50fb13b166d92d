"""What becomes of a task's answers: the best is kept, the hard go where they are learned, nothing is lost uncounted."""

from collections.abc import Sequence

import pytest
import torch

from trainer_svc.flow.tasks import Skill, Task
from trainer_svc.stages.selection import (
    Answer,
    Fate,
    count_fates,
    decide,
    draw,
    most_agreed,
    pass_rate,
)


def embed(texts: Sequence[str]) -> torch.Tensor:
    """By the first letter: texts that begin alike are alike."""
    vectors = torch.zeros(len(texts), 26)
    for row, text in enumerate(texts):
        vectors[row, ord(text[0].lower()) - ord("a")] = 1.0
    return vectors


def answer(reward: float, text: str = "a", finished: bool = True) -> Answer:
    return Answer(text, [5, 6, 1], 2, reward, finished)


def fate(skill: Skill, answers: list[Answer], reference: str = "") -> Fate:
    return decide(Task("t", skill, "why?", (), reference), answers, embed, passes_at=1.0, consensus=0.6).fate


@pytest.mark.parametrize("skill", ["knowledge", "reasoning", "instruction", "open"])
def test_a_task_that_is_mostly_solved_is_learned_from_its_best_answer(skill: Skill) -> None:
    assert fate(skill, [answer(1.0), answer(0.0)]) is Fate.BEST_KEPT


def test_hard_reasoning_goes_to_rl_and_hard_knowledge_is_taught() -> None:
    hard = [answer(1.0), answer(0.0), answer(0.0)]
    assert fate("reasoning", hard) is fate("instruction", hard) is Fate.TO_RL
    assert fate("knowledge", hard) is Fate.BEST_KEPT
    assert fate("knowledge", [answer(0.0)], "It is so.") is Fate.REFERENCE
    assert fate("knowledge", [answer(0.0)]) is Fate.NO_REFERENCE
    assert fate("knowledge", []) is Fate.UNANSWERED


def test_an_answer_that_was_cut_off_is_never_learned() -> None:
    assert fate("knowledge", [answer(1.0, finished=False)] * 2, "It is so.") is Fate.REFERENCE


def test_where_no_answer_of_an_open_task_passes_agreement_decides() -> None:
    agreed = [answer(0.4, "abc"), answer(0.2, "abd"), answer(0.1, "abe"), answer(0.5, "zzz")]
    kept = decide(Task("t", "open", "why?", ()), agreed, embed, passes_at=1.0, consensus=0.6)
    assert kept.fate is Fate.CONSENSUS and kept.answer is not None and kept.answer.text != "zzz"
    assert fate("open", [answer(0.4, "abc"), answer(0.5, "zzz")]) is Fate.NO_CONSENSUS
    assert fate("open", [answer(0.4, "abc")]) is Fate.NO_CONSENSUS


def test_among_equals_the_answer_that_agrees_most_is_kept() -> None:
    kept, agreement = most_agreed([answer(1, "zzz"), answer(1, "abc"), answer(1, "abd")], embed)
    assert kept.text == "abc" and agreement == pytest.approx(0.5)


def test_prompts_are_drawn_evenly_over_clusters_and_alike_for_a_seed() -> None:
    prompts = [f"a{n}" for n in range(30)] + [f"b{n}" for n in range(6)] + ["c0", "c1"]
    drawn = draw(prompts, embed, 3, 9, seed=1)
    letters = [prompts[index][0] for index in drawn]
    assert drawn == sorted(set(drawn)) and len(drawn) == 9
    assert (letters.count("a"), letters.count("b"), letters.count("c")) == (4, 3, 2)
    assert drawn == draw(prompts, embed, 3, 9, seed=1) != draw(prompts, embed, 3, 9, seed=2)
    assert draw(prompts, embed, 3, 99, seed=1) == list(range(38))


def test_every_fate_is_counted() -> None:
    decisions = [decide(Task("t", "knowledge", "?", ()), [], embed, 1.0, 0.5)] * 2
    counts = count_fates(decisions)
    assert counts["unanswered"] == 2 == sum(counts.values()) and set(counts) == {fate.value for fate in Fate}
    assert pass_rate([answer(1.0), answer(0.99)], 1.0) == 0.5 and pass_rate([], 1.0) == 0.0
