"""Training of the judge's head: features from the frozen deployment, logistic regression, calibration, its measure.

Three parts that never mix: TRAIN fits the weights, CALIBRATE chooses the penalty, the Platt scaling and the threshold,
HELD_OUT is measured once. Invariant: the same pairs and features give the same head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubric_svc.agreement import Pair, measure
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.exemplars import Exemplars
from rubric_svc.judge.features import Embedder, Seen, see
from rubric_svc.judge.head import Head, Manifest, sigmoid
from rubric_svc.judge.labelled import Labelled, Part
from rubric_svc.judge.model import ModelJudge
from rubric_svc.model import Outcome

Array = NDArray[np.float64]
PENALTIES = (1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0)
_STEPS, _RATE = 400, 0.02
_AT_ONCE = 8


class Untrainable(ValueError):
    """Too few pairs of a part, or pairs of one label alone."""


@dataclass(frozen=True, slots=True)
class Table:
    """What was seen of each pair, with its label; `yes` is the judge model's own probability."""

    seen: tuple[Seen, ...]
    y: Array
    yes: Array
    parts: tuple[Part, ...]
    dialogues: tuple[str, ...]

    @property
    def criteria(self) -> list[str]:
        return [one.criterion_id for one in self.seen]

    def of(self, part: Part) -> Table:
        return self._kept([one is part for one in self.parts])

    def without(self, part: Part, rows: Sequence[bool]) -> Table:
        """Without those rows of the part for which `rows` says so."""
        return self._kept([not (one is part and out) for one, out in zip(self.parts, rows, strict=True)])

    def exemplars(self) -> Exemplars:
        return Exemplars.from_seen(self.seen, [bool(y) for y in self.y], self.dialogues)

    def x(self, exemplars: Exemplars) -> NDArray[np.float32]:
        """[rows, columns]. No row is held against its own dialogue."""
        pairs = zip(self.seen, self.dialogues, strict=True)
        return np.stack([exemplars.row(seen, dialogue) for seen, dialogue in pairs])

    def _kept(self, rows: Sequence[bool]) -> Table:
        at = [index for index, keep in enumerate(rows) if keep]
        return Table(
            tuple(self.seen[i] for i in at),
            self.y[at],
            self.yes[at],
            tuple(self.parts[i] for i in at),
            tuple(self.dialogues[i] for i in at),
        )


async def table(
    pairs: Sequence[Labelled], judge: ModelJudge, embedder: Embedder, progress: Callable[[], None] = lambda: None
) -> Table:
    """Of the pairs that have a label. Raises ServiceError, or Untrainable where the model left one ungraded."""
    pairs = [pair for pair in pairs if pair.met is not None]
    places = asyncio.Semaphore(_AT_ONCE)

    async def row(pair: Labelled) -> tuple[Seen, float]:
        async with places:
            (verdict,) = await judge.judge([pair.criterion], pair.dialogue, pair.scope)
            if verdict.outcome is Outcome.UNGRADED:
                raise Untrainable(f"{pair.pair_id}: {verdict.explanation}")
            evidence = Evidence.of(pair.dialogue, pair.scope)
            (seen,) = await see([pair.criterion], evidence, [verdict.probability], embedder, judge.limit_seconds)
            progress()
            return seen, verdict.probability

    rows = await asyncio.gather(*(row(pair) for pair in pairs))
    labels = np.asarray([float(bool(pair.met)) for pair in pairs])
    yes = np.asarray([probability for _, probability in rows])
    return Table(
        tuple(seen for seen, _ in rows),
        labels,
        yes,
        tuple(pair.part for pair in pairs),
        tuple(pair.dialogue_id or pair.pair_id for pair in pairs),
    )


def train_and_measure(rows: Table, name: str) -> Head:
    """The head, its manifest with what it and the untrained model reach on the held-out part. Raises Untrainable."""
    head = train(rows, name)
    held_out = rows.of(Part.HELD_OUT)
    counts = {part.value: len(rows.of(part).y) for part in Part}
    measured: dict[str, float] = {}
    if len(held_out.y):
        calibrating = rows.of(Part.CALIBRATE)
        given = head.judge(held_out.seen)
        untrained = best_threshold(calibrating.yes, calibrating.y)
        most = float(rows.of(Part.TRAIN).y.mean() >= 0.5)
        measured = {
            "macro_f1": macro_f1(given >= head.manifest.threshold, held_out.y),
            "untrained_macro_f1": macro_f1(held_out.yes >= 0.5, held_out.y),
            "untrained_calibrated_macro_f1": macro_f1(held_out.yes >= untrained, held_out.y),
            "majority_macro_f1": macro_f1(np.full(len(held_out.y), bool(most)), held_out.y),
        }
    return replace(head, manifest=replace(head.manifest, trained_on=counts, measured=measured))


def train(rows: Table, name: str) -> Head:
    """Raises Untrainable."""
    fitted, calibrating = rows.of(Part.TRAIN), rows.of(Part.CALIBRATE)
    for part in (fitted, calibrating):
        if len(part.y) < 8 or len(set(part.y.tolist())) < 2:
            raise Untrainable("each part needs at least 8 pairs, of both labels")
    exemplars = fitted.exemplars()
    x, held = fitted.x(exemplars), calibrating.x(exemplars)
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    names = sorted(set(fitted.criteria))
    spread = _spread(((x - mean) / scale).astype(np.float64), [names.index(name) for name in fitted.criteria])
    first = Manifest(name, 1.0, 0.0, 0.5, names, list(exemplars.criteria))
    heads = []
    for penalty in PENALTIES:
        w, b = _logistic(spread, fitted.y, penalty)
        shared, own = np.split(w.astype(np.float32), [len(mean)])
        own = own.reshape(len(names), len(mean) + 1)
        head = Head(shared, float(np.float32(b)), own, mean, scale, exemplars, first)
        logits = head.logits(held, calibrating.criteria).astype(np.float64)
        slope, intercept = platt(logits, calibrating.y)
        loss = _log_loss(sigmoid(slope * logits + intercept), calibrating.y)
        heads.append((loss, penalty, replace(head, manifest=replace(head.manifest, slope=slope, intercept=intercept))))
    _, _, best = min(heads, key=lambda one: one[:2])
    threshold = best_threshold(best.probabilities(held, calibrating.criteria), calibrating.y)
    return replace(best, manifest=replace(best.manifest, threshold=threshold))


def _spread(z: Array, criteria: Sequence[int]) -> Array:
    """[rows, columns + criteria (columns + 1)]: z, and again with a one in its criterion's own place (Daumé 2007)."""
    rows, columns = z.shape
    own = np.zeros((rows, max(criteria) + 1, columns + 1))
    own[np.arange(rows), criteria] = np.concatenate([z, np.ones((rows, 1))], axis=1)
    return np.concatenate([z, own.reshape(rows, -1)], axis=1)


def _logistic(z: Array, y: Array, penalty: float) -> tuple[Array, float]:
    """Mean log loss + penalty/2 |w|^2, by Adam on all rows at once."""
    w, b = np.zeros(z.shape[1]), 0.0
    moments = [np.zeros(z.shape[1] + 1), np.zeros(z.shape[1] + 1)]
    for step in range(1, _STEPS + 1):
        error = (sigmoid(z @ w + b) - y) / len(y)
        gradient = np.append(z.T @ error + penalty * w, error.sum())
        moments[0] = 0.9 * moments[0] + 0.1 * gradient
        moments[1] = 0.999 * moments[1] + 0.001 * gradient**2
        change = moments[0] / (1 - 0.9**step) / (np.sqrt(moments[1] / (1 - 0.999**step)) + 1e-8)
        w, b = w - _RATE * change[:-1], b - _RATE * float(change[-1])
    return w, b


def platt(logits: Array, y: Array) -> tuple[float, float]:
    """Slope and intercept of least log loss (Platt 1999, with his smoothed targets), by Newton's method."""
    met = y.sum()
    target = np.where(y == 1, (met + 1) / (met + 2), 1 / (len(y) - met + 2))
    x = np.stack([logits, np.ones_like(logits)], axis=1)
    theta = np.asarray([1.0, 0.0])
    for _ in range(50):
        p = sigmoid(x @ theta)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        theta = theta - np.linalg.solve(hessian, x.T @ (p - target) + 1e-3 * (theta - [1.0, 0.0]))
    # A judge that is worse than chance on few pairs is not to be turned round.
    return max(0.05, float(theta[0])), float(theta[1])


def best_threshold(probabilities: Array, y: Array) -> float:
    """Of greatest macro F1; of several alike the one nearest to a half."""
    steps = np.linspace(0.05, 0.95, 91)
    return float(max(steps, key=lambda t: (round(macro_f1(probabilities >= t, y), 6), -abs(t - 0.5))))


def macro_f1(met: NDArray[np.bool_], y: Array) -> float:
    outcome = {True: Outcome.MET, False: Outcome.NOT_MET}
    pairs = [Pair(outcome[bool(p)], outcome[bool(label)]) for p, label in zip(met, y, strict=True)]
    return measure(pairs).macro_f1


def _log_loss(p: Array, y: Array) -> float:
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    return float(-np.mean(y * np.log(inside) + (1 - y) * np.log(1 - inside)))
