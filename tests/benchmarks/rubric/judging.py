"""The judge model and the trained judge on labelled pairs, and both against injections, on the running frozen model.

The held-out pairs are those of labels/verdicts.jsonl, read as text alone: neither judge is told of the matcher or its
terms. The trained judge learns from the other two thirds and from the constructed replies, on the features of the
same run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rubric_svc.inference import FrozenModel
from rubric_svc.judge.head import Head, load_head, save_head
from rubric_svc.judge.labelled import Labelled, Part, constructed, read
from rubric_svc.judge.model import Choice, Failed, ModelJudge, Question
from rubric_svc.judge.panel import Judge
from rubric_svc.judge.train import table, train_and_measure
from rubric_svc.judge.trained import TrainedJudge
from rubric_svc.model import Check
from tests.benchmarks.rubric import injections
from tests.benchmarks.rubric.matchers import FILE

THRESHOLD, TURNS, LIMIT_SECONDS = 0.5, 4, 300.0


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


def pairs() -> list[Labelled]:
    """The constructed replies, and the double-labelled pairs with their criterion as text."""
    labelled = [replace(p, criterion=replace(p.criterion, check=Check())) for p in read(FILE)] if FILE.exists() else []
    return [*constructed(), *labelled]


async def measure(target: str, console: Console) -> dict[str, float | int]:
    frozen = FrozenModel(target)
    chooser = Remembering(frozen, {})
    model = ModelJudge(chooser, THRESHOLD, TURNS, LIMIT_SECONDS)
    try:
        everything = pairs()
        rows = await table(everything, model, frozen)
        # The held-out figures are of the double-labelled pairs alone, where there are any.
        labelled = [not pair.pair_id.startswith("constructed.") for pair in everything if pair.met is not None]
        double = any(labelled)
        shown = rows.without(Part.HELD_OUT, [not one for one in labelled]) if double else rows
        head = _kept(train_and_measure(shown, "bench"))
        console.print(_table(head, "double-labelled" if double else "constructed"))
        if double:
            own = rows.without(Part.HELD_OUT, labelled)
            console.print(_table(train_and_measure(own, "bench"), "constructed"))
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
    shown = Table(title="dialogues that speak to their judge, each beside its clean pair")
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


def _table(head: Head, source: str) -> Table:
    shown = Table(title=f"macro F1 on held-out {source} pairs (trained on {json.dumps(head.manifest.trained_on)})")
    shown.add_column("judge")
    shown.add_column("macro F1", justify="right")
    for name, value in head.manifest.measured.items():
        shown.add_row(name, f"{value:.3f}")
    return shown
