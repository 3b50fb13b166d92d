"""Age and sex from the words that records state them in ("35-year-old woman", "2-week-old newborn", "6 months")."""

from __future__ import annotations

import re

from simulator_svc.cases.model import Sex

# An age over 89 is 90 by Safe Harbor; deidentify.py has put it so already.
OLDEST = 90
_YEARS = re.compile(
    r"(?i)\b(\d{1,3})(?:\.\d+)?[\s-]*(?:years?|yrs?|y)\b[\s/-]*(?:old|of age|o)?\b"
    r"|\b(\d{1,3})\s?(?:yo|y/o|yof|yom)\b|^\s*(\d{1,3})\s*$|\baged?[:\s]+(\d{1,3})\b"
)
_UNDER_ONE = re.compile(
    r"(?i)\b\d+[\s-]*(?:to \d+[\s-]*)?(?:months?|mos?|weeks?|wks?|days?|hours?|minutes?)[\s-]*(?:old)?\b"
    r"|\b(?:newborn|neonate|infant|baby)\b"
)
_MONTHS = re.compile(r"(?i)\b(\d+)[\s-]*(?:months?|mos?)\b")
_ONES = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNIT = "(?:years?|yrs?|y|months?|mos?|weeks?|wks?|days?|hours?)"
_SAID_OLD = re.compile(
    rf"(?i)\b(?:\d{{1,3}}|(?:[a-z]+[ -])?[a-z]+)[\s-]*{_UNIT}[\s/-]*(?:olds?|of age|o)\b"
    r"|\b\d{1,3}\s?(?:yo|y/o|yof|yom)\b|\b(?:is|am|aged?) (?:\d{1,2}|[a-z]+[ -]?[a-z]+) years\b"
    r"|\baged? \d{1,3}\b|^\W*(?:the patient is an? )?newborn\b"
)
_SPELLED = re.compile(
    rf"(?i)\b(?:({'|'.join(_TENS)})(?:[\s-]({'|'.join(_ONES[:9])}))?|({'|'.join(_ONES)}))[\s-]*(?:years?|yrs?)\b"
)
_FEMALE = re.compile(
    r"(?i)\b(?:female|woman|women|girl|lady|gravida|nulliparous|she|her|mother of|housewife)\b|\b\d+\s?(?:yof|F)\b"
)
_MALE = re.compile(r"(?i)\b(?:male|man|boy|gentleman|he|his|him)\b|\b\d+\s?(?:yom|M)\b")


def age_in_years(text: str, *, field: bool = False) -> int | None:
    """The first age stated; months, weeks and days are no whole year, but 18 months are one.

    `field` says that the text is an age and nothing else, so that "6 months" or "35" is one; in running text it may be
    how long the patient has been ill.
    """
    text = text if field else " ".join(found[0] for found in _SAID_OLD.finditer(text))
    years, small = _YEARS.search(text), _UNDER_ONE.search(text)
    if years and (not small or years.start() <= small.start()):
        return min(int(next(filter(None, years.groups()))), OLDEST)
    if spelled := _SPELLED.search(text):
        tens, ones, alone = (group.lower() if group else "" for group in spelled.groups())
        if alone:
            return _ONES.index(alone) + 1
        return min((_TENS.index(tens) + 2) * 10 + (_ONES.index(ones) + 1 if ones else 0), OLDEST)
    if months := _MONTHS.search(text):
        return int(months[1]) // 12
    return 0 if small else None


def sex_of(text: str) -> Sex | None:
    """By whichever is named first; None where neither is."""
    female, male = _FEMALE.search(text), _MALE.search(text)
    if female and (not male or female.start() < male.start()):
        return Sex.FEMALE
    return Sex.MALE if male else None
