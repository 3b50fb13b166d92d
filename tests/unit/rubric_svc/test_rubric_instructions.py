"""Every constraint on form holds for an answer that keeps it, fails for one that breaks it; garbled, it is refused."""

import json
from typing import Any

import pytest

from rubric_svc.judge.instructions import CHECKS, follows
from rubric_svc.judge.matchers import WrongTerms
from rubric_svc.judge.verifiable import validate
from rubric_svc.model import Check

EXAMPLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "punctuation:no_comma": ({}, "Rest and drink.", "Rest, and drink."),
    "length_constraints:number_words": ({"relation": "at least", "num_words": 3}, "Rest a while.", "Rest now."),
    "length_constraints:number_sentences": (
        {"relation": "less than", "num_sentences": 3},
        "Rest. Drink.",
        "Rest. Drink. Sleep.",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "One.\n***\nTwo.", "One.\n\nTwo."),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "Rest.\n\nThen drink.",
        "Then.\n\nRest.",
    ),
    "keywords:existence": ({"keywords": ["rest", "water"]}, "Rest, with water.", "Rest."),
    "keywords:forbidden_words": ({"forbidden_words": ["rock"]}, "Rocky ground.", "A rock."),
    "keywords:frequency": ({"relation": "at least", "keyword": "rest", "frequency": 2}, "Rest, rest.", "Rest."),
    "keywords:letter_frequency": (
        {"let_relation": "less than", "letter": "a", "let_frequency": 2},
        "A rest.",
        "A salad.",
    ),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*One* and **two**.", "*One* and two."),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* one\n- two", "* one"),
    "detectable_format:title": ({}, "<<Rest>>\nDo it.", "Rest\nDo it."),
    "detectable_format:json_format": ({}, '```json\n{"rest": true}\n```', "rest: true"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "PART", "num_sections": 2},
        "PART 1 a PART 2 b",
        "PART 1",
    ),
    "detectable_format:constrained_response": ({}, "My answer is yes.", "Yes."),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[name] of [town]", "[name]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "Rest.\nP.S. Drink.", "Rest. PSA is low."),
    "startend:quotation": ({}, '"Rest."', 'Say "rest".'),
    "startend:end_checker": ({"end_phrase": "Get well."}, "Rest. Get well.", "Get well. Rest."),
    "combination:repeat_prompt": ({"prompt_to_repeat": "What helps?"}, "What helps? Rest.", "Rest helps."),
    "combination:two_responses": ({}, "Rest.\n******\nDrink.", "Rest.\n******\nRest."),
    "change_case:english_lowercase": ({}, "rest.", "Rest."),
    "change_case:english_capital": ({}, "REST.", "Rest."),
    "change_case:capital_word_frequency": (
        {"capital_relation": "at least", "capital_frequency": 2},
        "REST NOW please",
        "REST now",
    ),
}


def test_every_constraint_has_an_example() -> None:
    assert EXAMPLES.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_constraint_tells_an_answer_that_keeps_it_from_one_that_does_not(name: str) -> None:
    arguments, kept, broken = EXAMPLES[name]
    assert follows(name, arguments, kept)
    assert not follows(name, arguments, broken)
    assert not follows(name, arguments, "  ")
    validate(Check("follows_instruction", (name, f"|{json.dumps(arguments)}")))


@pytest.mark.parametrize(
    "terms",
    [
        ("no:such",),
        ("length_constraints:number_words",),
        ("punctuation:no_comma", "|{"),
        ("keywords:existence", "|[1]"),
    ],
)
def test_garbled_terms_are_refused_before_anything_is_judged(terms: tuple[str, ...]) -> None:
    with pytest.raises(WrongTerms):
        validate(Check("follows_instruction", terms))
