"""The judge model and the trained judge on labelled pairs, and both against injections, on the running frozen model.

The pairs are those of labels/judgements.jsonl, of criteria that no matcher decides, labelled by two readers; a third of
the dialogues is held out. The trained judge learns from the other two thirds and from the constructed replies, on the
features of the same run. Intervals are of 1,000 resamples of the held-out dialogues.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Shown

from rubric_svc.inference import FrozenModel
from rubric_svc.judge.head import Head, load_head, save_head
from rubric_svc.judge.labelled import Part, constructed, read
from rubric_svc.judge.model import Choice, Failed, ModelJudge, Question
from rubric_svc.judge.panel import Judge
from rubric_svc.judge.train import Table, best_threshold, macro_f1, table, train_and_measure
from rubric_svc.judge.trained import TrainedJudge
from tests.benchmarks.rubric import injections

FILE = Path(__file__).parent.parent / "labels" / "judgements.jsonl"
THRESHOLD, TURNS, LIMIT_SECONDS = 0.5, 4, 300.0
RESAMPLES = 1000


@dataclass
class Remembering:
    """Asks each question once: what differs in nothing is answered alike by a greedy judge."""

    model: FrozenModel
    answers: dict[tuple[str, ...], Sequence[Choice] | Failed]

    async def choose(self, questions: Sequence[Question], limit_seconds: float) -> list[Sequence[Choice] | Failed]:
        keys = [tuple(turn.text for turn in question.messages) for question in questions]
        new = [i for i, key in enumerate(keys) if key not in self.answers]
        found = await self.model.choose([questions[i] for i in new], limit_seconds) if new else []
        self.answers |= {keys[i]: answer for i, answer in zip(new, found, strict=True)}
        return [self.answers[key] for key in keys]


async def measure(target: str, console: Console) -> dict[str, float | int]:
    frozen = FrozenModel(target)
    chooser = Remembering(frozen, {})
    model = ModelJudge(chooser, THRESHOLD, TURNS, LIMIT_SECONDS)
    try:
        pairs = [pair for pair in (*constructed(Part.TRAIN), *read(FILE)) if pair.met is not None]
        rows = await table(pairs, model, frozen)
        head = _kept(train_and_measure(rows, "bench"))
        console.print(_table(head, rows))
        moved = await _injections(console, {"model": model, "trained": TrainedJudge(model, frozen, head)})
    finally:
        await frozen.close()
    measured = head.manifest.measured
    figures: dict[str, float | int] = {
        "judge_macro_f1": round(measured["macro_f1"], 4),
        "judge_untrained_f1": round(measured["untrained_calibrated_macro_f1"], 4),
        "majority_f1": round(measured["majority_macro_f1"], 4),
    }
    return figures | moved


async def _injections(console: Console, judges: dict[str, Judge]) -> dict[str, float | int]:
    shown = Shown(title="dialogues that speak to their judge, each beside its clean pair")
    for column in ("judge", "verdicts", "moved to met", "moved to not met", "clean recall", "recall beside injections"):
        shown.add_column(column, justify="left" if column == "judge" else "right")
    found = {"matchers": injections.verifiable()}
    found |= {name: await injections.model(judge) for name, judge in judges.items()}
    for name, one in found.items():
        recall = (f"{one.clean_recall:.3f}", f"{one.injected_recall:.3f}") if name == "matchers" else ("", "")
        shown.add_row(name, str(one.verdicts), str(len(one.moved)), str(len(one.lost)), *recall)
    console.print(shown)
    return {
        "injections_moved": sum(len(one.moved) for one in found.values()),
        "clean_recall": round(found["matchers"].clean_recall, 4),
    }


def _kept(head: Head) -> Head:
    """As the service has it: saved, and loaded by its name."""
    with tempfile.TemporaryDirectory() as store:
        save_head(head, Path(store))
        return load_head(Path(store), head.manifest.name)


def _table(head: Head, rows: Table) -> Shown:
    held_out, calibrating = rows.of(Part.HELD_OUT), rows.of(Part.CALIBRATE)
    most = bool(rows.of(Part.TRAIN).y.mean() >= 0.5)
    verdicts = {
        "trained": head.judge(held_out.seen) >= head.manifest.threshold,
        "untrained, at a half": held_out.yes >= 0.5,
        "untrained, own threshold": held_out.yes >= best_threshold(calibrating.yes, calibrating.y),
        "majority": np.full(len(held_out.y), most),
    }
    shown = Shown(title=f"macro F1 on held-out pairs (pairs: {json.dumps(head.manifest.trained_on)})")
    for column in ("judge", "macro F1", "95 % interval", "trained ahead by"):
        shown.add_column(column, justify="left" if column == "judge" else "right")
    for name, met in verdicts.items():
        scores, ahead = _resampled(met, held_out), _resampled(verdicts["trained"], held_out, met)
        gap = "" if name == "trained" else f"{ahead[0]:.3f} to {ahead[1]:.3f}"
        shown.add_row(name, f"{macro_f1(met, held_out.y):.3f}", f"{scores[0]:.3f} to {scores[1]:.3f}", gap)
    return shown


def _resampled(met: NDArray[np.bool_], held_out: Table, other: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The middle 95 % of macro F1, or of its lead over the other's, over resampled dialogues."""
    names = np.asarray(held_out.dialogues)
    rows = [np.flatnonzero(names == name) for name in sorted(set(held_out.dialogues))]
    chance, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[i] for i in chance.integers(len(rows), size=len(rows))])
        score = macro_f1(met[drawn], held_out.y[drawn])
        found.append(score - (macro_f1(other[drawn], held_out.y[drawn]) if other is not None else 0.0))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
