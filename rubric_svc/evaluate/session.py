"""One evaluation from a data file to a report: what `anamnesis evaluate` does.

Progress and tables go to stderr, the scores as one line of JSON to stdout. A directory that is named keeps answers,
verdicts, scores, the page and the viewer's records; the same evaluation again goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from rubric_svc.evaluate.candidate import Sampling, open_candidate
from rubric_svc.evaluate.compare import compare
from rubric_svc.evaluate.healthbench import HealthBenchItem, NotHealthBench, read_items
from rubric_svc.evaluate.journal import Journal
from rubric_svc.evaluate.report import (
    Reported,
    as_json,
    difference_table,
    example_rows,
    summary_table,
    write_page,
    write_viewer_rows,
)
from rubric_svc.evaluate.run import Evaluation, Progress
from rubric_svc.evaluate.scores import Example, example, summarize
from rubric_svc.evaluate.supplied import SuppliedVerdicts, WrongVerdict
from rubric_svc.inference import FrozenModel
from rubric_svc.judge.model import ModelJudge
from rubric_svc.judge.panel import Panel
from rubric_svc.settings import RubricSettings
from service_kit.errors import FailedPrecondition, InvalidArgument

PAGE, SCORES, VIEWER = "report.html", "scores.json", "examples.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    candidate: str
    model: str
    judge: str
    max_tokens: int
    limit: int
    seed: int
    concurrency: int
    length_adjusted: bool


def score_supplied(data: Path, verdicts: Path, out: Path | None, *, limit: int, seed: int) -> None:
    """Raises InvalidArgument with the place of a wrong line."""
    items = _items(data, limit)
    try:
        supplied = SuppliedVerdicts.read(verdicts, items)
    except WrongVerdict as error:
        raise InvalidArgument("verdicts", str(error)) from error
    void_share = RubricSettings().void_share
    examples = [example(item, supplied.of(item), void_share=void_share) for item in items]
    reported = [Reported(item, "", one) for item, one in zip(items, examples, strict=True)]
    _report(f"{verdicts.name} on {data.name}", verdicts.name, reported, {}, seed, out)


def evaluate_candidate(data: Path, settings: Settings, directory: Path, *, api_key: str) -> None:
    """Raises FailedPrecondition INCOMPLETE where an item was not answered, after the report of the others."""
    items = _items(data, settings.limit)
    identity = {
        "benchmark": "healthbench",
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "candidate": settings.candidate,
        "model": settings.model,
        "judge": settings.judge,
        "max_tokens": settings.max_tokens,
        "seed": settings.seed,
    }
    journal = Journal(directory, identity)
    evaluation = asyncio.run(_play(items, settings, journal, api_key))
    name = settings.model or settings.candidate
    examples = evaluation.examples(void_share=RubricSettings().void_share, length_adjusted=settings.length_adjusted)
    by_id = {item.prompt_id: item for item in items}
    reported = [Reported(by_id[one.prompt_id], journal.done[one.prompt_id].answer, one) for one in examples]
    _report(f"{name} on {data.name}", name, reported, evaluation.unanswered, settings.seed, directory)
    if evaluation.unanswered:
        missing = ", ".join(f"{reason} {count}" for reason, count in sorted(evaluation.unanswered.items()))
        raise FailedPrecondition(
            "INCOMPLETE", f"items without an answer: {missing}. The same command again goes on from here."
        )


def compare_kept(before: Path, after: Path, *, seed: int) -> None:
    """Two evaluations that were kept. Raises InvalidArgument where they have nothing in common."""
    try:
        difference = compare(_kept(before), _kept(after), seed=seed)
    except ValueError as error:
        raise InvalidArgument("evaluations", str(error)) from error
    Console(stderr=True).print(difference_table(difference, before.name, after.name))
    print(json.dumps(asdict(difference)))


async def _play(items: Sequence[HealthBenchItem], settings: Settings, journal: Journal, api_key: str) -> Evaluation:
    sampling = Sampling(max_tokens=settings.max_tokens, seed=settings.seed)
    candidate = open_candidate(settings.candidate, settings.model, api_key, sampling)
    frozen = FrozenModel(settings.judge)
    defaults = RubricSettings()
    judge = ModelJudge(frozen, defaults.judge_threshold, defaults.judge_turns, defaults.judge_seconds)
    try:
        with _progress_bar() as told:
            evaluation = Evaluation(items, candidate, Panel(judge), journal, settings.concurrency, told)
            await evaluation.run()
        return evaluation
    finally:
        await candidate.close()
        await frozen.close()


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
    unanswered: Mapping[str, int],
    seed: int,
    out: Path | None,
) -> None:
    examples = [one.example for one in reported]
    summary = summarize(examples, seed=seed)
    scores = as_json(summary, candidate=candidate, unanswered=unanswered, seed=seed)
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
