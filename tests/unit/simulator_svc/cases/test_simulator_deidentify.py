"""Safe Harbor's 18 categories come out, in many forms; what is clinical stays; what cannot be judged is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from simulator_svc.cases.deidentify import MARK, Deidentifier, NotCleared
from simulator_svc.cases.identifiers import Identifier

EXAMPLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("safe_harbor.toml").read_text("utf-8"))
GONE = [(category, row[0], row[1:]) for category in Identifier for row in EXAMPLES[category]["gone"]]


@pytest.fixture(scope="module")
def deidentifier() -> Deidentifier:
    return Deidentifier()


def test_every_category_has_several_examples() -> None:
    assert len(Identifier) == 19  # 18, with ages over 89 apart from dates
    assert all(len(EXAMPLES[category]["gone"]) >= 3 for category in Identifier)


@pytest.mark.parametrize(("category", "text", "parts"), GONE, ids=[row[1][:40] for row in GONE])
def test_an_identifier_comes_out_and_is_counted(category: Identifier, text: str, parts: list[str]) -> None:
    deidentifier = Deidentifier()
    cleared = deidentifier.clear(text)
    assert not [part for part in parts if part.lower() in cleared.lower()]
    assert deidentifier.removed[category] >= 1


@pytest.mark.parametrize("text", EXAMPLES["kept"]["texts"])
def test_what_is_clinical_stays(deidentifier: Deidentifier, text: str) -> None:
    assert deidentifier.clear(text) == text


@pytest.mark.parametrize(("text", "reason"), EXAMPLES["refused"]["texts"])
def test_what_cannot_be_judged_is_refused_without_being_quoted(
    deidentifier: Deidentifier, text: str, reason: str
) -> None:
    with pytest.raises(NotCleared, match=reason) as refused:
        deidentifier.clear(text)
    assert not [word for word in text.split() if len(word) > 5 and word in str(refused.value)]


@pytest.mark.parametrize(
    ("text", "cleared"),
    [
        ("Dr. Kumar said that it is nothing.", "The doctor said that it is nothing."),
        ("The pain began on July 31, 2008.", "The pain began in 2008."),
        ("It came back in April, with fever.", "It came back, with fever."),
        ("A 94-year-old woman fell.", "A 90-year-old woman fell."),
        ("She lives in Springfield with her son Tobias.", "She lives in a town with her son."),
        ("She has had it since May 3, 2019.", "She has had it since 2019."),
    ],
)
def test_what_is_left_says_what_was_clinical_in_it(deidentifier: Deidentifier, text: str, cleared: str) -> None:
    assert deidentifier.clear(text) == cleared


def test_where_nothing_can_stand_in_its_place_a_mark_does(deidentifier: Deidentifier) -> None:
    assert MARK.search(deidentifier.clear("She has coughed since 3 March."))
    assert not MARK.search(deidentifier.clear("She has coughed since yesterday [sic]."[:34] + "."))


def test_nothing_hides_between_invisible_characters(deidentifier: Deidentifier) -> None:
    assert "4567" not in deidentifier.clear("Call 555\u200b-123\u2011\u00ad4567.")
    assert "Kumar" not in deidentifier.clear("Dr.\u00a0Kumar came.")


def test_values_that_a_record_is_known_to_bear_come_out_wherever_they_stand(deidentifier: Deidentifier) -> None:
    known = {"Xanthippe": "the patient", "Xanthippe Ypsilanti": "the patient", "Zbigniew": "[name]"}
    assert deidentifier.clear("Mrs. xanthippe Ypsilanti has a cough.", known) == "The patient has a cough."
    assert MARK.search(deidentifier.clear("Asked zbigniew about it.", known))


def test_a_key_that_identifies_is_told_from_a_heading_in_capitals(deidentifier: Deidentifier) -> None:
    assert deidentifier.allows_key("Complete_Blood_Count") and deidentifier.allows_key("X-ray_of_the_Right_Hand")
    assert not deidentifier.allows_key("John_Smith") and not deidentifier.allows_key("MRN_00482913")
