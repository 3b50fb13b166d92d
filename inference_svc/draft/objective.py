"""The training-time test: the head drafts several steps on its own features, and each step is compared to the target.

EAGLE-3 (arXiv:2503.01840): L = sum_k w^k CE(p_target, p_head,k), over the slots whose token is an answer's. p_target is
the target's distribution over the draft vocabulary; a slot whose token lies outside of it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inference_svc.draft.batches import Batch
from inference_svc.draft.head import Eagle3Head

STEP_WEIGHT = 0.8


@dataclass(frozen=True)
class TargetEnds:
    """The target's own parts that the head borrows. V: the target's vocabulary, DV: the draft's."""

    # [V, H]; never trained: vLLM shares the target's.
    embedding: Tensor
    # [DV, H]: the rows of the target's lm_head that are inside.
    lm_head: Tensor
    # int64 [DV], and [V] with -1 outside.
    target_ids: Tensor
    t2d: Tensor


@dataclass(frozen=True)
class Outcome:
    loss: Tensor
    # Per step: how often the head's first choice is the target's.
    agreement: list[float]


def objective(head: Eagle3Head, batch: Batch, ends: TargetEnds, steps: int) -> Outcome:
    embeds = F.embedding(batch.tokens, ends.embedding)
    length = batch.tokens.shape[1]
    start = batch.start
    counted = batch.answered & (ends.t2d[batch.tokens] >= 0)
    # Row t: the target's logits over the draft vocabulary for token t + 1, [B, T, DV].
    with torch.no_grad():
        teacher = F.pad((batch.last[:, start:] @ ends.lm_head.T), (0, 0, start, 0))
    total = torch.zeros(())
    agreement = []
    # Slot i sees the embedding of token i + 1; the last slot has none.
    hidden, past = head.first(embeds[:, 1:], head.combine(batch.features[:, :-1]))
    past.start = start
    hidden = hidden[:, start:]
    for step in range(steps):
        if step:
            # The chain at slot t now reads token t + step + 1; beyond the text's end stands what no loss counts.
            shifted = F.pad(embeds[:, start + step + 1 :], (0, 0, 0, step))
            hidden = head.further(shifted, hidden, past)
        # It foresees token t + step + 2.
        first = start + step + 2
        rows = counted[:, first:]
        if first >= length or not rows.any():
            break
        wanted = teacher[:, first - 1 : -1][rows].float()
        logits = head.logits(hidden[:, : length - first][rows]).float()
        total = total + STEP_WEIGHT**step * F.cross_entropy(logits, wanted.softmax(-1))
        agreement.append(float((logits.argmax(-1) == wanted.argmax(-1)).float().mean()))
    return Outcome(total, agreement)
