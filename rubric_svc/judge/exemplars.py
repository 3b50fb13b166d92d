"""Labelled replies that a reply is held against: is it liker to those that met the criterion, or to those that did not?

Per label three numbers, the greatest likeness of two sentences, of two whole replies, and the mean of the three most
alike replies; then the three differences. Invariant: a reply is never held against one of its own dialogue, and a
criterion without exemplars gives zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubric_svc.judge.features import Seen, Vector

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Exemplars:
    """m replies with n sentences: `wholes` [m, d], `met` [m], `sentences` [n, d], `of` [n] the reply of each."""

    criteria: tuple[str, ...]
    dialogues: tuple[str, ...]
    met: NDArray[np.bool_]
    wholes: NDArray[np.float32]
    sentences: NDArray[np.float32]
    of: NDArray[np.int64]

    @classmethod
    def from_seen(cls, seen: Sequence[Seen], met: Sequence[bool], dialogues: Sequence[str]) -> Exemplars:
        return cls(
            tuple(one.criterion_id for one in seen),
            tuple(dialogues),
            np.asarray(met, dtype=bool),
            np.stack([one.whole for one in seen]),
            np.concatenate([one.sentences for one in seen]),
            np.repeat(np.arange(len(seen)), [len(one.sentences) for one in seen]),
        )

    def row(self, seen: Seen, dialogue: str = "") -> Vector:
        """[columns]: what was seen, beside what the exemplars of other dialogues say of it."""
        own = np.asarray(
            [c == seen.criterion_id and d != dialogue for c, d in zip(self.criteria, self.dialogues, strict=True)]
        )
        met, not_met = self._likeness(seen, own & self.met), self._likeness(seen, own & ~self.met)
        return np.asarray(np.concatenate([seen.plain, met, not_met, met - not_met]), dtype=np.float32)

    def _likeness(self, seen: Seen, kept: NDArray[np.bool_]) -> Vector:
        if not kept.any():
            return np.zeros(3, dtype=np.float32)
        wholes = np.sort(self.wholes[kept] @ seen.whole)[::-1]
        sentence = (self.sentences[kept[self.of]] @ seen.sentences.T).max()
        return np.asarray([sentence, wholes[0], wholes[:_NEAREST].mean()], dtype=np.float32)
