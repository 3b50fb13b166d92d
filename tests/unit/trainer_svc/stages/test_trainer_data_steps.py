"""A data step asks each text once, counts what it rejects by reason, and goes on after it was cut short."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer_svc.stages.data_steps import Outcomes, judge, play
from trainer_svc.stages.sources import Text

SOURCE = "The patient is 61 years old and has had chest pain for 3 days, worse at night."
GOOD = "Age: 61 years. Complaint: chest pain. Duration: 3 days. It is worse at night. Nothing else is known."
TEXTS = [Text(f"t{n}", SOURCE) for n in range(5)]


class Model:
    def __init__(self, *answers: tuple[str, str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def write(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        assert all(SOURCE in prompt for prompt in prompts)
        self.asked += len(prompts)
        return [self.answers.pop(0) for _ in prompts]


@pytest.mark.parametrize(
    "written, reason",
    [
        (GOOD, ""),
        ("Chest pain.", "too_short"),
        ("chest pain at night and " * 12, "repeats_itself"),
        (SOURCE, "copied"),
        (GOOD.replace("3 days", "4 days"), "invented_number"),
        (f"1. {GOOD}\n2. He is otherwise well.", ""),
    ],
)
def test_plain_rules_say_what_is_not_to_be_trained_on(written: str, reason: str) -> None:
    assert judge(SOURCE, written) == reason


def test_each_text_has_one_outcome_and_rejections_have_a_reason(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    model = Model((GOOD, ""), ("", "cut_off"), ("Short.", ""), (GOOD, ""), (GOOD, ""))
    counts = play("notes", TEXTS, model.write, Outcomes(out), 2, lambda done: None)
    assert counts == {"kept": 3, "cut_off": 1, "too_short": 1}
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in kept] == ["t0/notes", "t3/notes", "t4/notes"]
    assert all(line["text"].startswith(SOURCE) and line["text"].endswith(GOOD) for line in kept)


def test_cut_short_in_the_middle_of_a_line_it_goes_on_and_asks_nobody_twice(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    model = Model((GOOD, ""), (GOOD, ""))
    with pytest.raises(IndexError):
        play("rephrase", TEXTS, model.write, Outcomes(out), 1, lambda done: None)
    whole = out.read_text()
    out.write_text(whole + '{"id": "t2/rephr')
    again = Model((GOOD, ""), (GOOD, ""), (GOOD, ""))
    assert play("rephrase", TEXTS, again.write, Outcomes(out), 2, lambda done: None) == {"kept": 3}
    assert again.asked == 3 and out.read_text().startswith(whole)
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == ["t0", "t1", "t2", "t3", "t4"]
