"""Every case is counted once, by specialty, age and sex, and what no case covers is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator_svc.cases.coverage import BANDS, SEXES, UNKNOWN, Coverage, age_band
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Sex

LIBRARY = CaseLibrary.load()


@pytest.mark.parametrize(
    ("age_years", "band"),
    [
        (0, "0-4"), (4, "0-4"), (5, "5-17"), (17, "5-17"), (18, "18-39"), (39, "18-39"), (40, "40-64"), (64, "40-64"),
        (65, "65+"), (110, "65+"),
    ],
)  # fmt: skip
def test_each_age_is_in_its_band(age_years: int, band: str) -> None:
    assert age_band(age_years) == band


def test_counts_the_cases_that_match() -> None:
    gout, asthma = LIBRARY.get("gout-toe"), LIBRARY.get("asthma-boy")
    found = Coverage.of([gout, replace(gout, sex=Sex.FEMALE), replace(gout, age_years=80), asthma])
    assert found.count() == 4
    assert found.count("rheumatology") == 3
    assert found.count("rheumatology", "40-64") == 2
    assert found.count("rheumatology", "40-64", Sex.FEMALE) == 1
    assert found.count(sex=Sex.MALE) == 3
    assert found.count("cardiology") == 0
    assert ("0-4", Sex.MALE) in found.empty() and ("5-17", Sex.MALE) not in found.empty()


def test_a_case_that_does_not_say_is_counted_as_unknown() -> None:
    case = replace(LIBRARY.get("gout-toe"), sex=None, split=None, prevalence="")
    found = Coverage.of([case])
    assert found.count() == found.count(sex=UNKNOWN) == 1
    assert found.prevalence == {UNKNOWN: 1} and found.as_json()["splits"] == {"train": 0, "held_out": 0, UNKNOWN: 1}


def test_the_json_holds_every_cell_and_every_case_once() -> None:
    found = Coverage.of(LIBRARY.list()).as_json()
    cells = [found["specialties"][name][band][sex] for name in found["specialties"] for band in BANDS for sex in SEXES]
    assert sum(cells) == found["cases"] == len(LIBRARY.list())
    assert sum(found["all"][band][sex] for band in BANDS for sex in SEXES) == found["cases"]
    assert sum(found["prevalence"].values()) == sum(found["splits"].values()) == found["cases"]


def test_no_library_has_no_coverage() -> None:
    found = Coverage.of([])
    assert found.count() == 0 and len(found.empty()) == len(BANDS) * len(Sex)
