"""One evaluation from its tasks to a report: what `anamnesis evaluate` does.

Progress and tables go to stderr, the scores as one line of JSON to stdout. A directory that is named keeps answers,
verdicts, scores, the page and the viewer's records; the same evaluation again goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from rubric_svc.evaluate.candidate import Sampling, open_candidate
from rubric_svc.evaluate.compare import compare
from rubric_svc.evaluate.healthbench import HealthBenchItem, NotHealthBench, read_items
from rubric_svc.evaluate.healthbench_task import HealthBenchTask
from rubric_svc.evaluate.journal import Journal
from rubric_svc.evaluate.osce import OsceTask
from rubric_svc.evaluate.patients import Patients
from rubric_svc.evaluate.report import (
    as_json,
    difference_table,
    example_rows,
    summary_table,
    write_page,
    write_viewer_rows,
)
from rubric_svc.evaluate.run import Evaluation, Progress, Reported, Task
from rubric_svc.evaluate.scores import Example, example, summarize
from rubric_svc.evaluate.supplied import SuppliedVerdicts, WrongVerdict
from rubric_svc.generate import templates
from rubric_svc.inference import FrozenModel
from rubric_svc.judge.model import ModelJudge
from rubric_svc.judge.panel import Panel
from rubric_svc.settings import RubricSettings
from service_kit.errors import FailedPrecondition, InvalidArgument, Unavailable

PAGE, SCORES, VIEWER = "report.html", "scores.json", "examples.jsonl"
_PATIENT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Settings:
    candidate: str
    model: str
    judge: str
    max_tokens: int
    seed: int
    concurrency: int


def score_supplied(data: Path, verdicts: Path, out: Path | None, *, limit: int, seed: int) -> None:
    """Raises InvalidArgument with the place of a wrong line."""
    items = _items(data, limit)
    try:
        supplied = SuppliedVerdicts.read(verdicts, items)
    except WrongVerdict as error:
        raise InvalidArgument("verdicts", str(error)) from error
    void_share = RubricSettings().void_share
    reported = [
        Reported(
            item.prompt_id, item.example_tags, item.prompt, example(item, supplied.of(item), void_share=void_share)
        )
        for item in items
    ]
    _report(f"{verdicts.name} on {data.name}", verdicts.name, reported, {}, seed, out)


def evaluate_healthbench(
    data: Path, settings: Settings, directory: Path, *, api_key: str, limit: int, length_adjusted: bool
) -> None:
    """Raises FailedPrecondition INCOMPLETE where an item was not answered, after the report of the others."""
    void_share = RubricSettings().void_share
    tasks = [HealthBenchTask(item, void_share, length_adjusted) for item in _items(data, limit)]

    async def ready() -> Sequence[Task]:
        return tasks

    about = {"benchmark": "healthbench", "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest()}
    _evaluate(data.name, about, settings, directory, api_key, ready)


def evaluate_osce(
    simulator: str, settings: Settings, directory: Path, *, api_key: str, count: int, most_turns: int
) -> None:
    """As evaluate_healthbench, with `count` patients of the simulator."""
    defaults = RubricSettings()
    criteria = templates.built_in()

    async def met(patients: Patients) -> Sequence[Task]:
        found = await patients.held_out(count, settings.seed)
        if not found:
            raise Unavailable("simulator", "has no held-out case")
        kept = defaults.whole_model_criteria
        return [OsceTask(patient, patients, criteria, kept, most_turns, defaults.void_share) for patient in found]

    about = {
        "benchmark": "osce",
        "criteria_sha256": hashlib.sha256(repr(criteria).encode()).hexdigest(),
        "simulator": simulator,
        "most_turns": most_turns,
    }
    opened = Patients(simulator, _PATIENT_SECONDS)
    _evaluate("patients", about, settings, directory, api_key, lambda: met(opened), close=opened.close)


def compare_kept(before: Path, after: Path, *, seed: int) -> None:
    """Two evaluations that were kept. Raises InvalidArgument where they have nothing in common."""
    try:
        difference = compare(_kept(before), _kept(after), seed=seed)
    except ValueError as error:
        raise InvalidArgument("evaluations", str(error)) from error
    Console(stderr=True).print(difference_table(difference, before.name, after.name))
    print(json.dumps(asdict(difference)))


def _evaluate(
    what: str,
    about: Mapping[str, Any],
    settings: Settings,
    directory: Path,
    api_key: str,
    ready: Callable[[], Awaitable[Sequence[Task]]],
    close: Callable[[], Awaitable[None]] | None = None,
) -> None:
    identity = {**about, **asdict(settings)}
    del identity["concurrency"]  # the results do not depend on it
    journal = Journal(directory, identity)

    async def play() -> Evaluation:
        sampling = Sampling(max_tokens=settings.max_tokens, seed=settings.seed)
        candidate = open_candidate(settings.candidate, settings.model, api_key, sampling)
        frozen = FrozenModel(settings.judge)
        defaults = RubricSettings()
        judge = ModelJudge(frozen, defaults.judge_threshold, defaults.judge_turns, defaults.judge_seconds)
        try:
            tasks = await ready()
            with _progress_bar() as told:
                evaluation = Evaluation(tasks, candidate, Panel(judge), journal, settings.concurrency, told)
                await evaluation.run()
            return evaluation
        finally:
            await candidate.close()
            await frozen.close()
            if close is not None:
                await close()

    evaluation = asyncio.run(play())
    name = settings.model or settings.candidate
    _report(f"{name} on {what}", name, evaluation.reported(), evaluation.unplayed, settings.seed, directory)
    if evaluation.unplayed:
        missing = ", ".join(f"{reason} {count}" for reason, count in sorted(evaluation.unplayed.items()))
        raise FailedPrecondition("INCOMPLETE", f"not played: {missing}. The same command again goes on from here.")


def _items(data: Path, limit: int) -> list[HealthBenchItem]:
    try:
        return list(read_items(data))[: limit or None]
    except NotHealthBench as error:
        raise InvalidArgument("data", str(error)) from error


def _kept(directory: Path) -> list[Example]:
    path = directory / SCORES
    if not path.exists():
        raise InvalidArgument("evaluation", f"{directory} holds no {SCORES}: it has not come to its end")
    rows = json.loads(path.read_text(encoding="utf-8"))["by_example"]
    return [Example(row["prompt_id"], row["score"], row["by_tag"], ()) for row in rows]


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _report(
    title: str,
    candidate: str,
    reported: Sequence[Reported],
    unplayed: Mapping[str, int],
    seed: int,
    out: Path | None,
) -> None:
    examples = [one.example for one in reported]
    summary = summarize(examples, seed=seed)
    scores = as_json(summary, candidate=candidate, unplayed=unplayed, seed=seed)
    scores["by_example"] = list(example_rows(examples))
    console = Console(stderr=True)
    console.print(summary_table(title, summary))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / SCORES).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        write_viewer_rows(out / VIEWER, reported)
        write_page(out / PAGE, title, scores, summary, reported)
        console.print(f"report: {out / PAGE}", highlight=False)
    print(json.dumps(scores))
