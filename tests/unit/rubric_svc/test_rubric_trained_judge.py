"""The trained judge: parts that never mix, a head that learns and is calibrated, artefacts refused when altered."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rubric_svc.generate.templates import built_in
from rubric_svc.judge.features import Seen
from rubric_svc.judge.head import MANIFEST, TENSORS, Head, WrongHead, load_head, save_head
from rubric_svc.judge.labelled import Labelled, Part, WrongLabels, constructed, part, read
from rubric_svc.judge.model import Choice, Failed, ModelJudge, Question
from rubric_svc.judge.train import Table, Untrainable, best_threshold, platt, table, train, train_and_measure
from rubric_svc.judge.trained import TrainedJudge
from rubric_svc.model import Criterion, Outcome, Scope
from service_kit.errors import Unavailable
from tests.unit.rubric_svc.rubric_cases import talk

WIDTH = 64


class Deployment:
    """Embeds a text as its bag of words and says Yes to everything with the same probability."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away

    async def choose(self, questions: Sequence[Question], limit_seconds: float) -> Sequence[Sequence[Choice] | Failed]:
        return [[Choice("Yes", 0.6, -1.0, 1), Choice("No", 0.4, -1.0, 1)] for _ in questions]

    async def embed(self, texts: Sequence[str], limit_seconds: float) -> list[list[float]]:
        if self.away:
            raise Unavailable("inference-frozen", "away")
        return [_bag(text) for text in texts]


def _bag(text: str) -> list[float]:
    vector = np.zeros(WIDTH)
    for word in text.lower().split():
        vector[hashlib.sha256(word.strip(".,?!").encode()).digest()[0] % WIDTH] += 1
    return list(vector / max(1e-9, float(np.linalg.norm(vector))))


def pairs(count: int = 240) -> list[Labelled]:
    """The criterion is met where the reply speaks of the sea."""
    criterion = Criterion("sea", "Speaks of the sea.", 3)
    replies = ("The sea is calm today.", "The mountain is high today.")
    return [
        Labelled(f"p{n}", criterion, talk(f"Hello {n}.", replies[n % 2]), Scope.LAST_DOCTOR_TURN, (n % 2 == 0,))
        for n in range(count)
    ]


def model(deployment: Deployment) -> ModelJudge:
    return ModelJudge(deployment, 0.5, 4, 5.0)


@pytest.fixture(scope="module")
def rows() -> Table:
    deployment = Deployment()
    return asyncio.run(table(pairs(), model(deployment), deployment))


@pytest.fixture(scope="module")
def head(rows: Table) -> Head:
    return train_and_measure(rows, "sea")


def test_a_head_learns_what_the_model_does_not_see(head: Head) -> None:
    measured = head.manifest.measured
    assert measured["macro_f1"] > 0.95
    assert measured["untrained_macro_f1"] < 0.5 and measured["majority_macro_f1"] < 0.5


def test_the_same_pairs_give_the_same_head(rows: Table, head: Head) -> None:
    again = train_and_measure(rows, "sea")
    assert np.array_equal(again.weights, head.weights) and again.manifest == head.manifest


async def test_the_judge_gives_verdicts_with_its_name_and_both_probabilities(head: Head) -> None:
    deployment = Deployment()
    judge = TrainedJudge(model(deployment), deployment, head)
    criterion = Criterion("sea", "Speaks of the sea.", 3)
    (met,) = await judge.judge([criterion], talk("Hi.", "The sea is calm today."), Scope.LAST_DOCTOR_TURN)
    (not_met,) = await judge.judge([criterion], talk("Hi.", "The mountain is high today."), Scope.LAST_DOCTOR_TURN)
    assert (met.outcome, not_met.outcome) == (Outcome.MET, Outcome.NOT_MET)
    assert met.explanation.startswith("judge sea: P(met) = ") and "P(Yes) = 0.600" in met.explanation


async def test_without_embeddings_its_criteria_are_ungraded_with_the_reason(head: Head) -> None:
    judge = TrainedJudge(model(Deployment()), Deployment(away=True), head)
    (verdict,) = await judge.judge([Criterion("c", "x", 1)], talk("a", "b"), Scope.LAST_DOCTOR_TURN)
    assert (verdict.outcome, verdict.explanation) == (Outcome.UNGRADED, "ungraded: DEPENDENCY_UNAVAILABLE")


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, head: Head) -> None:
    save_head(head, tmp_path)
    loaded = load_head(tmp_path, "sea")
    assert loaded.manifest == head.manifest
    assert np.array_equal(loaded.weights, head.weights) and loaded.bias == head.bias
    assert np.array_equal(loaded.own, head.own) and np.array_equal(loaded.exemplars.of, head.exemplars.of)


def test_an_altered_head_is_refused(tmp_path: Path, head: Head) -> None:
    directory = save_head(head, tmp_path)
    tensors = (directory / TENSORS).read_bytes()
    (directory / TENSORS).write_bytes(tensors[:-1] + bytes([tensors[-1] ^ 1]))
    with pytest.raises(WrongHead, match="not the file that the manifest tells of"):
        load_head(tmp_path, "sea")
    (directory / TENSORS).write_bytes(tensors)
    manifest = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps({**manifest, "layout": "other/1"}))
    with pytest.raises(WrongHead, match="features 'other/1'"):
        load_head(tmp_path, "sea")


@pytest.mark.parametrize("name", ["../sea", "", "SEA", "a/b", "nobody"])
def test_only_a_judge_of_the_store_is_loaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongHead):
        load_head(tmp_path, name)


def test_held_out_pairs_teach_nothing(rows: Table) -> None:
    held_out = np.asarray([one is Part.HELD_OUT for one in rows.parts])
    turned = replace(rows, y=np.where(held_out, 1 - rows.y, rows.y))
    assert np.array_equal(train(rows, "a").weights, train(turned, "a").weights)
    assert train(rows, "a").manifest == train(turned, "a").manifest


async def test_too_few_pairs_are_refused() -> None:
    deployment = Deployment()
    with pytest.raises(Untrainable):
        train(await table(pairs(6), model(deployment), deployment), "few")


def test_a_third_is_held_out_and_the_part_is_the_ids_alone() -> None:
    counts = Counter(part(f"v{n}") for n in range(3000))
    assert 900 < counts[Part.HELD_OUT] < 1100 and 400 < counts[Part.CALIBRATE] < 600
    assert part("v01.1") is part("v01.1")


def test_all_pairs_of_a_dialogue_are_of_one_part() -> None:
    criterion = Criterion("sea", "Speaks of the sea.", 3)
    found = [Labelled(f"m01.{n}", criterion, talk("a", "b"), Scope.LAST_DOCTOR_TURN, (True,), "m01") for n in range(20)]
    assert {pair.part for pair in found} == {part("m01")}


def test_a_reply_is_held_against_no_exemplar_of_its_own_dialogue(rows: Table) -> None:
    exemplars = rows.exemplars()
    alone = replace(rows, dialogues=("one",) * len(rows.y)).exemplars()
    assert exemplars.row(rows.seen[0], rows.dialogues[0])[-9:].any()
    assert not alone.row(rows.seen[0], "one")[-9:].any()


def test_platt_finds_the_scale_of_the_odds() -> None:
    chance = np.random.default_rng(1)
    z = chance.normal(size=4000)
    y = (chance.random(4000) < 1 / (1 + np.exp(-(2 * z - 1)))).astype(float)
    slope, intercept = platt(z, y)
    assert slope == pytest.approx(2, abs=0.2)
    assert intercept == pytest.approx(-1, abs=0.15)


def test_the_threshold_is_of_greatest_macro_f1_and_nearest_to_a_half() -> None:
    assert best_threshold(np.asarray([0.1, 0.2, 0.8, 0.9]), np.asarray([0.0, 0, 1, 1])) == pytest.approx(0.5)
    assert 0.2 < best_threshold(np.asarray([0.1, 0.2, 0.3, 0.4]), np.asarray([0.0, 0, 1, 1])) <= 0.3


def test_constructed_replies_cover_every_criterion_of_the_model_with_both_labels() -> None:
    by_criterion: dict[str, Counter[bool]] = {}
    for pair in constructed():
        by_criterion.setdefault(pair.criterion.criterion_id, Counter())[bool(pair.met)] += 1
    assert set(by_criterion) == {t.template_id for t in built_in().model}
    assert all(counts[True] >= 3 and counts[False] >= 3 for counts in by_criterion.values())


def test_a_pair_on_which_two_labels_differ_has_none(tmp_path: Path) -> None:
    row = {
        "pair_id": "v1.1",
        "dialogue": [{"speaker": "patient", "text": "a"}, {"speaker": "doctor", "text": "b"}],
        "scope": "last_turn",
        "criterion_id": "c",
        "text": "Asks.",
        "points": 2,
        "first": "met",
        "second": "not_met",
    }
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "pair_id": "v1.2", "second": "met"}) + "\n")
    assert [pair.met for pair in read(file)] == [None, True]
    file.write_text(json.dumps({**row, "first": "perhaps"}))
    with pytest.raises(WrongLabels, match=r"labels\.jsonl:1: KeyError"):
        read(file)


def test_a_table_keeps_its_parts_apart() -> None:
    seen = Seen("c", np.zeros(2, np.float32), np.zeros((1, 2), np.float32), np.zeros(2, np.float32))
    parts = (Part.TRAIN, Part.HELD_OUT, Part.TRAIN)
    rows = Table((seen,) * 3, np.zeros(3), np.zeros(3), parts, ("a", "b", "c"))
    assert len(rows.of(Part.TRAIN).y) == 2 and len(rows.of(Part.CALIBRATE).y) == 0
