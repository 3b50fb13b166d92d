"""`make train-ranking`: learns anew how likely a question calls for a fact, from questions that people labelled.

Writes simulator_svc/units/data/ranking.json. What words found is read from labels/question_hits.json, as it was before
the tables were corrected on these questions: on questions that taught them words are right too often to learn how far
to trust them. The limits are chosen, and the table printed, by cross-validation that leaves out whole cases.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inference_svc.embed import Embedder
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Disclosure
from simulator_svc.units.case_index import case_index
from simulator_svc.units.questions import asked
from simulator_svc.units.ranking import WEIGHTS, CaseVectors, category_questions, features, parts_of

LABELS = Path(__file__).parent / "labels"
FILES = ("simulator_questions.jsonl", "simulator_questions_development.jsonl")
MODEL = Path(os.environ.get("EMBEDDING_MODEL", ".anamnesis/models/all-minilm-l6-v2"))
FOLDS = 10
STRENGTH = 0.1
KEEP = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3)
LESS_LEAKS = 0.005
TELL = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True, slots=True)
class Labelled:
    case_id: str
    ids: list[str]
    rows: np.ndarray[Any, np.dtype[np.float64]]
    hits: list[str]
    # Both labellers name them; either does, or they are volunteered.
    calls_for: frozenset[str]
    may: frozenset[str]
    # Findings were ordered, or the patient was asked to tell at large: words alone decide.
    words_alone: bool

    @property
    def wanted(self) -> list[bool]:
        return [each in self.calls_for for each in self.ids]

    def told(self, likely: Any, keep: float, tell: float) -> set[str]:
        if self.words_alone:
            return set(self.hits)
        limits = [keep if each in self.hits else tell for each in self.ids]
        return {each for each, value, limit in zip(self.ids, likely, limits, strict=True) if value >= limit}


async def read(embedder: Embedder) -> list[Labelled]:
    library = CaseLibrary.load()
    hits: dict[str, list[str]] = json.loads((LABELS / "question_hits.json").read_text(encoding="utf-8"))
    categories = await embedder.embed(list(category_questions().values()))
    found: list[Labelled] = []
    known: dict[str, CaseVectors] = {}
    for row in (
        json.loads(line) for file in FILES for line in (LABELS / file).read_text(encoding="utf-8").splitlines()
    ):
        case = library.get(row["case_id"])
        index = case_index(case)
        history = [each.fact for each in index.history]
        if case.case_id not in known:
            texts = await embedder.embed([*(fact.text for fact in history), *(fact.words for fact in history)])
            known[case.case_id] = CaseVectors(texts[: len(history)], texts[len(history) :], categories)
        parts = parts_of(row["question"])
        vectors = await embedder.embed(parts)
        by_words = hits[row["id"]]
        first, second = frozenset(row["calls_for"]), frozenset(row.get("second", row["calls_for"]))
        if first != second and not first & second:
            continue
        ids = [fact.fact_id for fact in history]
        question = asked(case, row["question"], ())
        found.append(
            Labelled(
                case.case_id,
                ids,
                np.array(features(index, parts, vectors, known[case.case_id], by_words)),
                by_words,
                first & second,
                first | second | {fact.fact_id for fact in case.of(Disclosure.VOLUNTEERED)},
                not set(by_words) <= set(ids) or bool(question.invited) or question.conclusion or not question.question,
            )
        )
    return found


def model() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000))


def fitted(labelled: list[Labelled]) -> Any:
    learner = model()
    learner.fit(np.vstack([each.rows for each in labelled]), np.concatenate([each.wanted for each in labelled]))
    return learner


def cross_validated(labelled: list[Labelled]) -> list[Any]:
    likely: list[Any] = [None] * len(labelled)
    cases = [each.case_id for each in labelled]
    for learnt, left_out in GroupKFold(FOLDS, shuffle=True, random_state=0).split(labelled, groups=cases):
        learner = fitted([labelled[place] for place in learnt])
        for place in left_out:
            likely[place] = learner.predict_proba(labelled[place].rows)[:, 1]
    return likely


def scored(labelled: list[Labelled], told: list[set[str]]) -> tuple[float, float]:
    """Share of the questions on which nothing leaks, and mean share of what is asked for that is told."""
    private = [said <= each.may for each, said in zip(labelled, told, strict=True)]
    pairs = [(each, said) for each, said in zip(labelled, told, strict=True) if each.calls_for]
    recall = [len(said & each.calls_for) / len(each.calls_for) for each, said in pairs]
    return float(np.mean(private)), float(np.mean(recall))


def main() -> None:
    labelled = asyncio.run(read(Embedder(MODEL, 1)))
    words = scored(labelled, [set(each.hits) for each in labelled])
    print(f"words alone: privacy {words[0]:.3f}, recall {words[1]:.3f}, {len(labelled)} questions")
    likely = cross_validated(labelled)
    best: tuple[float, float, float] = (0.0, 0.0, 1.0)
    for keep, tell in product(KEEP, TELL):
        told = [each.told(values, keep, tell) for each, values in zip(labelled, likely, strict=True)]
        privacy, recall = scored(labelled, told)
        print(f"keep {keep:.2f} tell {tell:.2f}: privacy {privacy:.3f}, recall {recall:.3f}")
        # The most that is told with fewer leaks than words have.
        if privacy >= words[0] + LESS_LEAKS:
            best = max(best, (recall, keep, tell))
    learner = fitted(labelled)
    scale, logistic = learner[0], learner[1]
    weights = logistic.coef_[0] / scale.scale_
    bias = float(logistic.intercept_[0] - weights @ scale.mean_)
    learnt = {
        "keep": best[1],
        "tell": best[2],
        "bias": round(bias, 5),
        "weights": [round(float(value), 5) for value in weights],
    }
    WEIGHTS.write_text(json.dumps(learnt, indent=1) + "\n", encoding="utf-8")
    print(f"keep {best[1]}, tell {best[2]}: recall {best[0]:.3f}")


if __name__ == "__main__":
    main()
