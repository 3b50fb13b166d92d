"""Each scorer's error on replies that two people labelled apart, on the labels on which both agree; it is printed, and
bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator_svc.cases.library import CaseLibrary
from simulator_svc.evaluate.agreement import errors, read_replies

LABELS = Path(__file__).parents[4] / "tests" / "benchmarks" / "labels" / "simulator_replies.jsonl"
# The greatest share of wrong verdicts.
BOUNDS = {"leak": 0.15, "wrong": 0.20, "diagnosis": 0.05, "states": 0.25}


@pytest.mark.skipif(not LABELS.exists(), reason=f"{LABELS.name} is missing")
def test_each_scorer_agrees_with_people() -> None:
    replies = read_replies(LABELS, {case.case_id: case for case in CaseLibrary.load().list()})
    assert len(replies) >= 100
    found = errors(replies)
    for name, error in found.items():
        print(f"{name}: {error}")
    assert found.keys() == BOUNDS.keys()
    assert not {name: str(error) for name, error in found.items() if error.error > BOUNDS[name]}
