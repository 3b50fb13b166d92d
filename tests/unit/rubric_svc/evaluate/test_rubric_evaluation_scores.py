"""Scores by example, theme and axis against an independent computation straight from the records."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rubric_svc.evaluate.healthbench import HealthBenchItem, parse_item, read_items
from rubric_svc.evaluate.scores import OVERALL, Example, example, length_penalty, summarize
from rubric_svc.evaluate.supplied import SuppliedVerdicts, WrongVerdict
from rubric_svc.model import Outcome

FILE = Path(__file__).parents[5] / "shared" / "data" / "healthbench" / "healthbench_main_first100.jsonl"
ITEM = (
    '{"prompt_id": "p", "prompt": [{"role": "user", "content": "Hi"}], "example_tags": ["theme:x"], "rubrics": ['
    '{"criterion": "Greets.", "points": 5, "tags": ["axis:a"]}, '
    '{"criterion": "Harms.", "points": -4, "tags": ["axis:b"]}, '
    '{"criterion": "Asks.", "points": 3, "tags": ["axis:a", "axis:b"]}]}'
)


def _supplied(tmp_path: Path, rows: list[dict[str, Any]], items: list[HealthBenchItem]) -> SuppliedVerdicts:
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SuppliedVerdicts.read(path, items)


def _scored(items: list[HealthBenchItem], verdicts: SuppliedVerdicts) -> list[Example]:
    return [example(item, verdicts.of(item), void_share=0.3) for item in items]


def _independent(records: list[dict[str, Any]], met: dict[tuple[str, int], bool]) -> dict[str, list[float]]:
    """Values by name, from the JSON alone and with arrays."""
    values: dict[str, list[float]] = {}
    for record in records:
        points = np.array([row["points"] for row in record["rubrics"]], dtype=float)
        hit = np.array([met[record["prompt_id"], index] for index in range(len(points))])

        def over(bears: np.ndarray, points: np.ndarray = points, hit: np.ndarray = hit) -> float | None:
            possible = points[bears & (points > 0)].sum()
            return float(points[bears & hit].sum() / possible) if possible else None

        overall = over(np.ones(len(points), dtype=bool))
        assert overall is not None
        for name in ["overall", *record["example_tags"]]:
            values.setdefault(name, []).append(overall)
        for tag in {tag for row in record["rubrics"] for tag in row["tags"]}:
            value = over(np.array([tag in row["tags"] for row in record["rubrics"]]))
            if value is not None:
                values.setdefault(tag, []).append(value)
    return values


@pytest.mark.skipif(not FILE.exists(), reason=f"the public data are not at {FILE}")
@pytest.mark.parametrize("met_share", [0.1, 0.5, 0.9])
def test_every_item_theme_and_axis_equals_an_independent_computation(tmp_path: Path, met_share: float) -> None:
    records = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    chance = random.Random(met_share)
    met = {
        (record["prompt_id"], index): chance.random() < met_share
        for record in records
        for index in range(len(record["rubrics"]))
    }
    items = list(read_items(FILE))
    rows = [
        {"prompt_id": prompt_id, "criterion_index": index, "verdict": "met" if hit else "not_met"}
        for (prompt_id, index), hit in met.items()
    ]
    scored = _scored(items, _supplied(tmp_path, rows, items))
    expected = _independent(records, met)
    assert [one.value for one in scored] == pytest.approx(expected["overall"], abs=1e-9)
    found = summarize(scored)
    assert set(found.means) == set(expected)
    for name, values in expected.items():
        assert found.means[name].value == pytest.approx(np.clip(np.mean(values), 0, 1), abs=1e-9), name
        assert found.means[name].count == len(values)
    assert (found.void, found.ungraded, found.criteria) == (0, 0, 1157)


def test_the_error_is_that_of_a_bootstrap_of_the_clipped_mean() -> None:
    chance = random.Random(4)
    values = [chance.gauss(0.4, 0.5) for _ in range(200)]
    found = summarize([Example(str(index), value, {}, ()) for index, value in enumerate(values)]).means[OVERALL]
    resampler = np.random.default_rng(1)
    means = [np.clip(resampler.choice(values, len(values)).mean(), 0, 1) for _ in range(4000)]
    assert found.standard_error == pytest.approx(np.std(means), rel=0.1)


def test_a_criterion_without_a_verdict_is_ungraded_and_too_many_make_the_example_void(tmp_path: Path) -> None:
    items = [parse_item(ITEM)]
    one_missing = _supplied(
        tmp_path,
        [
            {"prompt_id": "p", "criterion_index": 0, "verdict": True},
            {"prompt_id": "p", "criterion_index": 1, "verdict": "not_met"},
        ],
        items,
    )
    graded = example(items[0], one_missing.of(items[0]), void_share=0.3)
    assert graded.value == 1.0  # the missing three points are in neither sum
    assert graded.ungraded == 1
    assert graded.by_tag == {"theme:x": 1.0, "axis:a": 1.0}  # axis:b has no graded positive criterion
    void = example(items[0], _supplied(tmp_path, [], items).of(items[0]), void_share=0.3)
    assert void.value is None
    summary = summarize([graded, void])
    assert (summary.examples, summary.void, summary.ungraded, summary.means[OVERALL].count) == (2, 1, 4, 1)
    assert summarize([void]).overall is None


def test_the_length_adjustment_begins_at_two_thousand_characters(tmp_path: Path) -> None:
    items = [parse_item(ITEM)]
    rows = [{"prompt_id": "p", "criterion_index": index, "verdict": index != 1} for index in range(3)]
    verdicts = _supplied(tmp_path, rows, items).of(items[0])
    assert length_penalty(2000) == 0
    assert length_penalty(3000) == pytest.approx(0.0294)
    adjusted = example(items[0], verdicts, void_share=0.3, answer_characters=3000)
    assert adjusted.value == pytest.approx(1.0 - 0.0294)
    assert adjusted.by_tag["axis:a"] == 1.0


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt_id": "q", "criterion_index": 0, "verdict": "met"}, "prompt_id: 'q'"),
        ({"prompt_id": "p", "criterion_index": 3, "verdict": "met"}, "criterion_index: .* 0 to 2"),
        ({"prompt_id": "p", "criterion_index": True, "verdict": "met"}, "criterion_index"),
        ({"prompt_id": "p", "criterion_index": 0, "verdict": "yes"}, "verdict: 'yes'"),
        ({"prompt_id": "p", "criterion_index": 0, "verdict": 1}, "verdict: 1"),
        ([], "not an object"),
    ],
)
def test_a_line_that_is_no_verdict_is_refused_with_its_place_and_field(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(WrongVerdict, match=rf"verdicts\.jsonl:1: .*{problem}"):
        _supplied(tmp_path, [row], [parse_item(ITEM)])


def test_two_lines_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    rows = [{"prompt_id": "p", "criterion_index": 0, "verdict": verdict} for verdict in ("met", "met", "not_met")]
    with pytest.raises(WrongVerdict, match=r"verdicts\.jsonl:3: contradicts"):
        _supplied(tmp_path, rows, [parse_item(ITEM)])


def test_outcomes_of_a_file_reach_the_verdicts_in_the_rubrics_order(tmp_path: Path) -> None:
    items = [parse_item(ITEM)]
    rows = [
        {"prompt_id": "p", "criterion_index": 2, "verdict": "met"},
        {"prompt_id": "p", "criterion_index": 0, "verdict": "ungraded"},
        {"prompt_id": "p", "criterion_index": 1, "verdict": False},
    ]
    outcomes = [verdict.outcome for verdict in _supplied(tmp_path, rows, items).of(items[0])]
    assert outcomes == [Outcome.UNGRADED, Outcome.NOT_MET, Outcome.MET]
