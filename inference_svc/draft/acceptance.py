"""How many of the head's drafted tokens the target takes, on answers the head has not seen.

Greedy, as vLLM verifies it: a drafted token is taken if all before it were taken and it is the target's own. From the
positions a decoder would really draft at: a round that takes n tokens moves on by n + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inference_svc.draft.batches import collate
from inference_svc.draft.features import TargetSequence
from inference_svc.draft.head import Eagle3Head
from inference_svc.draft.objective import TargetEnds


@dataclass(frozen=True)
class Acceptance:
    rounds: int
    # Rounds that took at least k + 1 drafted tokens.
    taken: list[int]

    @property
    def tokens_per_round(self) -> float:
        """Drafted tokens taken, and the one the target adds."""
        return 1 + sum(self.taken) / max(1, self.rounds)

    @property
    def per_position(self) -> list[float]:
        """The share of rounds in which the k-th drafted token is taken (vLLM's per-position acceptance)."""
        return [count / max(1, self.rounds) for count in self.taken]


@torch.inference_mode()
def measure(
    head: Eagle3Head, sequences: Sequence[TargetSequence], ends: TargetEnds, steps: int
) -> dict[int, Acceptance]:
    """For each number of drafted tokens from 1 to `steps`."""
    counts: dict[int, list[int]] = {drafted: [] for drafted in range(1, steps + 1)}
    for sequence in sequences:
        drafts = _drafts(head, sequence, ends, steps)
        for drafted, found in counts.items():
            found += walk(drafts[:, :drafted], sequence.tokens, sequence.prompt_length)
    return {
        drafted: Acceptance(len(found), [sum(count > place for count in found) for place in range(drafted)])
        for drafted, found in counts.items()
    }


def walk(drafts: Tensor, tokens: Tensor, prompt_length: int) -> list[int]:
    """Tokens taken in each round. drafts [T, K]: what a chain at slot t foresees for tokens t + 2, t + 3, ...

    The first answer's token is the target's own (the prompt's pass gives it); a round that reaches the end counts only
    if all its K tokens could have been taken.
    """
    counts = []
    steps = drafts.shape[1]
    slot = prompt_length - 1
    while slot + 2 + steps <= len(tokens):
        matches = (drafts[slot] == tokens[slot + 2 : slot + 2 + steps]).int()
        count = int(matches.cumprod(0).sum())
        counts.append(count)
        slot += count + 1
    return counts


def _drafts(head: Eagle3Head, sequence: TargetSequence, ends: TargetEnds, steps: int) -> Tensor:
    """int64 [T - 1, K]: each slot's own greedy draft, fed back."""
    batch = collate([sequence])
    dtype = head.fc.weight.dtype
    embeds = F.embedding(batch.tokens, ends.embedding).to(dtype)
    hidden, past = head.first(embeds[:, 1:], head.combine(batch.features[:, :-1].to(dtype)))
    past.start = max(0, sequence.prompt_length - 1)
    hidden = hidden[:, past.start :]
    columns: list[Tensor] = []
    for step in range(steps):
        if step:
            hidden = head.further(F.embedding(columns[-1], ends.embedding).to(dtype), hidden, past)
        columns.append(ends.target_ids[head.logits(hidden).argmax(-1)])
    drafts = torch.stack(columns, dim=-1)[0]
    return F.pad(drafts, (0, 0, past.start, 0), value=-1)
