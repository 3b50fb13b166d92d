"""What an evaluation came to: JSON for programs, simple-evals' records for its viewer, one HTML page for people.

The page is self-contained: no script and no style from elsewhere, and every text of a model or a data set is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich.table import Table

from rubric_svc.evaluate.compare import Difference
from rubric_svc.evaluate.run import Reported
from rubric_svc.evaluate.scores import Example, Summary
from rubric_svc.model import Dialogue, Outcome, Speaker
from rubric_svc.score import Mean

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True, undefined=jinja2.StrictUndefined
)
_ROLES = {Speaker.SYSTEM: "system", Speaker.PATIENT: "user", Speaker.DOCTOR: "assistant"}
# Of a bar's interval, in standard errors.
_INTERVAL = 1.96


def as_json(summary: Summary, *, candidate: str, unplayed: Mapping[str, int], seed: int) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "score": _mean(summary.overall),
        "examples": summary.examples,
        "void": summary.void,
        "unplayed": dict(unplayed),
        "criteria": summary.criteria,
        "ungraded": summary.ungraded,
        "seed": seed,
        "by_name": {name: _mean(mean) for name, mean in summary.means.items()},
    }


def example_rows(examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    for scored in examples:
        yield {"prompt_id": scored.prompt_id, "score": scored.value, "by_tag": dict(scored.by_tag)}


def viewer_rows(reported: Iterable[Reported]) -> Iterator[dict[str, Any]]:
    """simple-evals' example-level metadata, one object an item; an ungraded criterion has criteria_met null."""
    for one in reported:
        yield {
            "prompt_id": one.task_id,
            "score": one.example.value,
            "prompt": _messages(one.dialogue[:-1]),
            "completion": _messages(one.dialogue[-1:]),
            "rubric_items": [
                {
                    "criterion": verdict.criterion.text,
                    "points": verdict.criterion.points,
                    "tags": list(verdict.criterion.tags),
                    "criteria_met": None if verdict.outcome is Outcome.UNGRADED else verdict.outcome is Outcome.MET,
                    "explanation": verdict.explanation,
                }
                for verdict in one.example.verdicts
            ],
            "example_tags": list(one.tags),
        }


def write_viewer_rows(path: Path, reported: Sequence[Reported]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in viewer_rows(reported))


def write_page(
    path: Path, title: str, scores: Mapping[str, Any], summary: Summary, reported: Sequence[Reported]
) -> None:
    template = _PAGES.get_template("report.html")
    groups = [
        ("By theme", _bars(summary, "theme:")),
        ("By axis", _bars(summary, "axis:")),
        ("By station", _bars(summary, "station:")),
        ("By dimension", _bars(summary, "dimension:")),
    ]
    path.write_text(
        template.render(title=title, scores=scores, groups=groups, reported=reported, roles=_ROLES), encoding="utf-8"
    )


def summary_table(title: str, summary: Summary) -> Table:
    table = Table(title=title)
    for column in ("", "score", "standard error", "n"):
        table.add_column(column, justify="left" if not column else "right")
    for name, mean in summary.means.items():
        if name == "overall" or name.startswith(("theme:", "axis:", "station:", "dimension:")):
            table.add_row(name, f"{mean.value:.4f}", f"{mean.standard_error:.4f}", str(mean.count))
    return table


def difference_table(difference: Difference, before: str, after: str) -> Table:
    table = Table(title=f"{after} beside {before}: {difference.count} items, paired")
    for column in (before, after, "difference", "95 % interval", "standard error"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{difference.before:.4f}",
        f"{difference.after:.4f}",
        f"{difference.difference:+.4f}",
        f"{difference.low:+.4f} to {difference.high:+.4f}",
        f"{difference.standard_error:.4f}",
    )
    return table


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    return {"mean": mean.value, "standard_error": mean.standard_error, "n": mean.count}


def _messages(dialogue: Dialogue) -> list[dict[str, str]]:
    return [{"role": _ROLES[turn.speaker], "content": turn.text} for turn in dialogue]


def _bars(summary: Summary, start: str) -> list[dict[str, Any]]:
    """Percent of the width: the bar, and its interval within [0, 1]."""
    bars = []
    for name, mean in summary.means.items():
        if name.startswith(start):
            low = max(0.0, mean.value - _INTERVAL * mean.standard_error)
            high = min(1.0, mean.value + _INTERVAL * mean.standard_error)
            bars.append({"name": name.removeprefix(start), "mean": mean, "low": 100 * low, "width": 100 * (high - low)})
    return bars
