"""The head's reduced vocabulary: the target's tokens that its own answers use most.

Invariant: `d2t` maps draft id i to target id i + d2t[i], ascending, as vLLM reads it. A token outside the reduced
vocabulary can never be drafted, only sampled by the target, so a small one costs acceptance, never correctness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DraftVocabulary:
    # int64 [DV], ascending.
    target_ids: torch.Tensor
    # Share of the answers' tokens that are inside.
    coverage: float

    def __len__(self) -> int:
        return len(self.target_ids)

    @property
    def d2t(self) -> torch.Tensor:
        """int64 [DV] offsets."""
        return self.target_ids - torch.arange(len(self))

    def t2d(self, target_size: int) -> torch.Tensor:
        """int64 [V]: the draft id of each target id, -1 outside."""
        inverse = torch.full((target_size,), -1, dtype=torch.int64)
        inverse[self.target_ids] = torch.arange(len(self))
        return inverse


def most_used(answers: Iterable[Sequence[int]], size: int, target_size: int, always: Iterable[int]) -> DraftVocabulary:
    """The `size` most frequent tokens and those in `always`; filled up with the lowest ids (a byte-pair vocabulary
    lists the commonest pieces first)."""
    if not 0 < size <= target_size:
        raise ValueError(f"a draft vocabulary of {size} for a target's of {target_size}")
    counts: Counter[int] = Counter()
    for answer in answers:
        counts.update(answer)
    kept = dict.fromkeys(always)
    kept |= dict.fromkeys(token for token, _ in counts.most_common())
    kept |= dict.fromkeys(range(target_size))
    chosen = sorted(list(kept)[:size])
    inside = sum(counts[token] for token in chosen)
    return DraftVocabulary(torch.tensor(chosen, dtype=torch.int64), inside / max(1, counts.total()))
