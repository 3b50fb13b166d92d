"""Rejection sampling without its messages: which tasks are asked, and what becomes of each task's answers.

The rule on the pass rate p, the share of a task's answers that its verifier or rubric lets pass:

    p >= 1/2                          SFT on the best answer
    p <  1/2, knowledge               SFT: on the best answer that passed, else on the source's reference
    p <  1/2, reasoning, instruction  RL: there is something to find by trying
    p <  1/2, open                    SFT on the best answer that passed, else on the consensus where there is one

Among answers of the best reward the one that agrees most with the others is kept.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from trainer_svc.flow.tasks import Task
from trainer_svc.seeds import derive, shuffled

HARD_BELOW = 0.5

Embed = Callable[[Sequence[str]], torch.Tensor]


class Fate(StrEnum):
    BEST_KEPT = "best_kept"
    REFERENCE = "reference"
    CONSENSUS = "consensus"
    TO_RL = "to_rl"
    NO_REFERENCE = "no_reference"
    NO_CONSENSUS = "no_consensus"
    UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Answer:
    """token_ids is the prompt and the answer; `given` of them are the prompt. An unfinished one was cut off."""

    text: str
    token_ids: list[int]
    given: int
    reward: float
    finished: bool


@dataclass(frozen=True)
class Decision:
    """`answer` is set where an answer was kept."""

    fate: Fate
    pass_rate: float
    answer: Answer | None = None


def draw(prompts: Sequence[str], embed: Embed, clusters: int, count: int, seed: int) -> list[int]:
    """Indices of `count` prompts, as evenly as the clusters of their embeddings allow; in ascending order."""
    if count >= len(prompts):
        return list(range(len(prompts)))
    from sklearn.cluster import KMeans

    found = KMeans(min(clusters, len(prompts)), random_state=derive(seed, "clusters"), n_init=3)
    labels = found.fit_predict(embed(prompts).numpy())
    members: dict[int, list[int]] = {}
    for index in shuffled(seed, "draw", len(prompts)):
        members.setdefault(int(labels[index]), []).append(index)
    drawn: list[int] = []
    while len(drawn) < count:  # one of each cluster in turn; a cluster that is used up is passed over
        for label in sorted(members):
            if members[label] and len(drawn) < count:
                drawn.append(members[label].pop())
    return sorted(drawn)


def pass_rate(answers: Sequence[Answer], passes_at: float) -> float:
    return sum(answer.reward >= passes_at for answer in answers) / max(1, len(answers))


def decide(task: Task, answers: Sequence[Answer], embed: Embed, passes_at: float, consensus: float) -> Decision:
    rate = pass_rate(answers, passes_at)
    if not answers:
        return Decision(Fate.UNANSWERED, rate)
    if rate < HARD_BELOW and task.skill in ("reasoning", "instruction"):
        return Decision(Fate.TO_RL, rate)
    whole = [answer for answer in answers if answer.finished]
    passed = [answer for answer in whole if answer.reward >= passes_at]
    if passed:
        best = max(answer.reward for answer in passed)
        kept, _ = most_agreed([answer for answer in passed if answer.reward == best], embed)
        return Decision(Fate.BEST_KEPT, rate, kept)
    if task.skill == "open":
        if len(whole) > 1:
            kept, agreement = most_agreed(whole, embed)
            if agreement >= consensus:
                return Decision(Fate.CONSENSUS, rate, kept)
        return Decision(Fate.NO_CONSENSUS, rate)
    return Decision(Fate.REFERENCE if task.reference else Fate.NO_REFERENCE, rate)


def most_agreed(answers: Sequence[Answer], embed: Embed) -> tuple[Answer, float]:
    """The answer whose mean cosine to the others is greatest, and that mean; a lone one agrees with nobody: 0."""
    if len({answer.text for answer in answers}) == 1:
        return answers[0], 1.0 if len(answers) > 1 else 0.0
    vectors = embed([answer.text for answer in answers])
    agreement = ((vectors @ vectors.T).sum(dim=1) - 1.0) / (len(answers) - 1)
    best = int(agreement.argmax())
    return answers[best], float(agreement[best])


def count_fates(decisions: Sequence[Decision]) -> dict[str, int]:
    counts = Counter(decision.fate.value for decision in decisions)
    return {fate.value: counts[fate.value] for fate in Fate}
