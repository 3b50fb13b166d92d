"""An evaluation that was interrupted, or whose judge was away, comes to what an undisturbed one comes to."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from rubric_svc.evaluate.compare import compare
from rubric_svc.evaluate.healthbench import HealthBenchItem, parse_item
from rubric_svc.evaluate.healthbench_task import HealthBenchTask
from rubric_svc.evaluate.journal import RESULTS, Journal
from rubric_svc.evaluate.report import as_json, viewer_rows, write_page
from rubric_svc.evaluate.run import Evaluation
from rubric_svc.evaluate.scores import Example, summarize
from rubric_svc.judge.model import ungraded
from rubric_svc.model import Dialogue, Outcome, Rubric, Scope, Speaker, Turn, Verdict
from service_kit.errors import FailedPrecondition, Unavailable

CRITERIA = 4
IDENTITY = {"benchmark": "healthbench", "candidate": "scripted"}


def _items(count: int = 12) -> list[HealthBenchItem]:
    rubrics = [
        {"criterion": f"Says {word}.", "points": points, "tags": ["axis:accuracy"]}
        for word, points in (("yes", 5), ("no", -3), ("rest", 2), ("water", 4))
    ]
    rows = [
        {
            "prompt_id": f"item-{number}",
            "prompt": [{"role": "user", "content": f"Question {number}"}],
            "example_tags": ["theme:x"],
            "rubrics": rubrics,
        }
        for number in range(count)
    ]
    return [parse_item(json.dumps(row)) for row in rows]


class Scripted:
    """A candidate whose words depend on the question alone; `fails` are questions that it cannot answer now."""

    name = "scripted"

    def __init__(self, fails: Sequence[str] = ()) -> None:
        self.fails = set(fails)
        self.asked: list[str] = []

    async def answer(self, dialogue: Dialogue) -> str:
        question = dialogue[-1].text
        self.asked.append(question)
        if question in self.fails:
            raise Unavailable("candidate", "is away")
        words = ("yes", "no", "rest", "water")
        return " ".join(word for place, word in enumerate(words) if crc32(question.encode()) >> place & 1) or "nothing"

    async def close(self) -> None: ...


class Reader:
    """A judge that reads the words; away after so many dialogues."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.left = dies_after

    async def judge(self, rubric: Rubric, dialogue: Dialogue, scope: Scope) -> list[Verdict]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                return [ungraded(criterion, "DEPENDENCY_UNAVAILABLE") for criterion in rubric.criteria]
        said = dialogue[-1].text
        return [
            Verdict(c, Outcome.MET if c.text[5:-1] in said else Outcome.NOT_MET, 1.0, "read") for c in rubric.criteria
        ]


async def _evaluate(directory: Path, candidate: Scripted, judge: Reader, *, concurrency: int = 3) -> Evaluation:
    journal = Journal(directory, IDENTITY)
    tasks = [HealthBenchTask(item, void_share=0.3) for item in _items()]
    evaluation = Evaluation(tasks, candidate, judge, journal, concurrency, lambda done, total: None)
    await evaluation.run()
    return evaluation


def _scores(evaluation: Evaluation) -> list[Example]:
    return [one.example for one in evaluation.reported()]


async def test_a_judge_that_dies_in_the_middle_leaves_no_trace_once_it_is_back(tmp_path: Path) -> None:
    whole = _scores(await _evaluate(tmp_path / "whole", Scripted(), Reader()))
    cut = await _evaluate(tmp_path / "cut", Scripted(), Reader(dies_after=5))
    summary = summarize(_scores(cut))
    assert (summary.examples, summary.void, summary.ungraded) == (12, 7, 7 * CRITERIA)
    again = Scripted()
    resumed = await _evaluate(tmp_path / "cut", again, Reader())
    assert _scores(resumed) == whole
    assert again.asked == []  # the answers lay in the journal


async def test_an_item_that_the_candidate_does_not_answer_is_counted_and_asked_again(tmp_path: Path) -> None:
    first = await _evaluate(tmp_path, Scripted(fails=["Question 3", "Question 7"]), Reader())
    assert first.unplayed == {"DEPENDENCY_UNAVAILABLE": 2}
    assert len(_scores(first)) == 10
    again = Scripted()
    second = await _evaluate(tmp_path, again, Reader())
    assert sorted(again.asked) == ["Question 3", "Question 7"]
    assert len(_scores(second)) == 12


async def test_a_line_that_was_torn_by_a_crash_is_done_again(tmp_path: Path) -> None:
    whole = _scores(await _evaluate(tmp_path, Scripted(), Reader(), concurrency=1))
    results = tmp_path / RESULTS
    torn = results.read_bytes()[:-40]
    results.write_bytes(torn)
    again = Scripted()
    assert _scores(await _evaluate(tmp_path, again, Reader())) == whole
    assert again.asked == ["Question 11"]


async def test_a_directory_of_another_evaluation_is_refused_by_what_differs(tmp_path: Path) -> None:
    Journal(tmp_path, IDENTITY)
    with pytest.raises(FailedPrecondition, match="another candidate"):
        Journal(tmp_path, {**IDENTITY, "candidate": "somebody else"})


async def test_the_page_escapes_what_a_model_wrote_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    evaluation = await _evaluate(tmp_path, Scripted(), Reader())
    hostile = Turn(Speaker.DOCTOR, "<script>alert(1)</script><img src=https://example.org/x>")
    reported = [replace(one, dialogue=(*one.dialogue[:-1], hostile)) for one in evaluation.reported()]
    summary = summarize([one.example for one in reported])
    page = tmp_path / "report.html"
    write_page(page, "A & B", as_json(summary, candidate="c", unplayed={}, seed=0), summary, reported)
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("<details>") == 12
    assert "A &amp; B" in html
    assert "src=" not in html.replace("&lt;img src=", "")


async def test_the_viewers_records_hold_each_criterion_with_its_verdict(tmp_path: Path) -> None:
    evaluation = await _evaluate(tmp_path, Scripted(), Reader(dies_after=11), concurrency=1)
    rows = list(viewer_rows(evaluation.reported()))
    assert [(row["prompt"][-1]["role"], row["completion"][0]["role"]) for row in rows] == [("user", "assistant")] * 12
    assert [len(row["rubric_items"]) for row in rows] == [CRITERIA] * 12
    assert rows[0]["rubric_items"][0].keys() == {"criterion", "points", "tags", "criteria_met", "explanation"}
    assert {item["criteria_met"] for item in rows[11]["rubric_items"]} == {None}


def test_the_paired_difference_equals_an_independent_bootstrap() -> None:
    chance = np.random.default_rng(5)
    a = chance.normal(0.4, 0.3, 150)
    b = a + chance.normal(0.05, 0.1, 150)
    before = [Example(str(number), float(value), {}, ()) for number, value in enumerate(a)]
    after = [Example(str(number), float(value), {}, ()) for number, value in enumerate(b)][::-1]
    found = compare(before, [*after, Example("alone", 1.0, {}, ())])
    places = chance.integers(0, 150, (4000, 150))
    drawn = b[places].mean(axis=1) - a[places].mean(axis=1)
    assert found.difference == pytest.approx(b.mean() - a.mean(), abs=1e-12)
    assert found.standard_error == pytest.approx(drawn.std(), rel=0.1)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)
    assert (found.count, found.unpaired) == (150, 1)
