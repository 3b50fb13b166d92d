"""A statement may be worded otherwise where it claims the same, and no other change of it leaves.

The mutations are made from words and lists of this test alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.units.claims import ClaimCheck
from simulator_svc.units.fact_unit import stated_in
from simulator_svc.units.wording import Speech, canonical, clipped, joined, pattern, reworded
from simulator_svc.words import split_sentences

LIBRARY = CaseLibrary.load()
LAY = Speech(lay=True)
MUTATIONS = tomllib.loads(Path(__file__).with_name("mutations.toml").read_text(encoding="utf-8"))
PAIRS = [tuple(swap.split()) for swap in MUTATIONS["swaps"]]
# Taken away at the beginning these may leave a short answer, which claims the same.
BEGINNINGS = {
    "please",
    "it",
    "is",
    "began",
    "started",
    "i",
    "have",
    "had",
    "take",
    "would",
    "say",
    "has",
    "been",
    "it's",
    "i've",
    "i'd",
}


def allowed(case: Case) -> list[Fact]:
    return [fact for fact in case.facts if fact.disclosure is not Disclosure.NEVER]


def mutations(sentence: str, other: str, random: Random) -> Iterator[str]:
    """Sentences that look like this one and claim something else, or nothing that makes sense."""
    body, end = sentence[:-1], sentence[-1]
    tokens = body.split()
    bare = [re.sub(r"[^\w']", "", token).lower() for token in tokens]
    for one, two in PAIRS:
        if one in bare:
            yield re.sub(rf"\b{one}\b", two, body, count=1, flags=re.IGNORECASE) + end
    for place, token in enumerate(tokens):
        if any(char.isdigit() for char in token):
            yield (
                " ".join(
                    [
                        *tokens[:place],
                        re.sub(r"\d", lambda d: str((int(d.group()) + 1) % 10), token),
                        *tokens[place + 1 :],
                    ]
                )
                + end
            )
        if place > 3 or bare[place] not in BEGINNINGS:
            yield " ".join(tokens[:place] + tokens[place + 1 :]) + end
    for place in sorted(random.sample(range(1, len(tokens) + 1), min(3, len(tokens)))):
        yield " ".join([*tokens[:place], random.choice(["not", "never", "no"]), *tokens[place:]]) + end
    for added in random.sample(MUTATIONS["added"], 3):
        yield f"{body} {added}{end}"
        yield f"{body}, {added}{end}"
    for before in random.sample(MUTATIONS["before"], 3):
        yield f"{before} {body[:1].lower()}{body[1:]}{end}"
    yield body + "?"
    clauses = body.split(", ")
    if len(clauses) > 1:
        yield ", ".join(reversed(clauses)) + end
    halves = other[:-1].split()
    yield " ".join(tokens[: len(tokens) // 2] + halves[len(halves) // 2 :]) + end
    yield " ".join(halves[: len(halves) // 2] + tokens[len(tokens) // 2 :]) + end
    yield f"{body} and not {other[:1].lower()}{other[1:]}"
    shuffled = random.sample(tokens, len(tokens))
    yield " ".join(shuffled) + end


def plain(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def test_no_mutation_of_a_fact_leaves_though_every_fact_of_the_case_may() -> None:
    random = Random(7)
    tried = 0
    for case in LIBRARY.list():
        facts = allowed(case)
        check = ClaimCheck.of(facts, [], case.diagnosis_names)
        sentences = [sentence for fact in facts for sentence in split_sentences(fact.words)]
        originals = [plain(sentence) for sentence in sentences]
        for sentence in sentences:
            for mutation in mutations(sentence, random.choice(sentences), random):
                if not mutation.endswith("?") and plain(mutation) in originals:
                    continue
                tried += 1
                assert not check.stated(mutation), (case.case_id, sentence, mutation)
                assert not check.sentence_passes(mutation), (case.case_id, sentence, mutation)
    assert tried > 30_000


@pytest.mark.parametrize("case", LIBRARY.list(), ids=lambda case: case.case_id)
def test_every_wording_is_recognised_passes_and_fits_the_models_pattern(case: Case) -> None:
    random = Random(case.case_id)
    facts = allowed(case)
    check = ClaimCheck.of(facts, [], case.diagnosis_names)
    for fact in facts:
        for sentence in split_sentences(fact.words):
            for _ in range(4):
                wording = reworded(sentence, LAY, random)
                assert check.sentence_passes(wording) and check.stated(wording), (sentence, wording)
                assert re.fullmatch(pattern(sentence, LAY, capital=True), wording), (sentence, wording)
            assert len(pattern(sentence, LAY, capital=True)) < 2000
        assert stated_in(case, fact.words) >= {fact.fact_id}


@pytest.mark.parametrize("case", LIBRARY.list(), ids=lambda case: case.case_id)
def test_an_answer_left_short_says_the_same_fact_and_no_more_words(case: Case) -> None:
    facts = allowed(case)
    check = ClaimCheck.of(facts, [], case.diagnosis_names)
    for fact in facts:
        for sentence in split_sentences(fact.words):
            assert check.stated(clipped(sentence)) == check.stated(sentence), sentence
            assert sentence.lower().endswith(clipped(sentence).lower())


@pytest.mark.parametrize(
    ("sentence", "short"),
    [
        ("It began two hours ago.", "Two hours ago."),
        ("They said the CRP is 58.", "The CRP is 58."),
        ("I have had no fever.", "No fever."),
        ("She has no fever.", "She has no fever."),
        ("I never had a rash.", "I never had a rash."),
    ],
)
def test_what_a_short_answer_leaves_out(sentence: str, short: str) -> None:
    assert clipped(sentence) == short


def test_a_formal_speaker_contracts_nothing_and_everybody_else_does() -> None:
    for sentence, full, short in (("I'm sure it's worse.", "I am sure it is worse.", "I'm sure it's worse."),):
        assert reworded(sentence, Speech(lay=True, formal=True), Random(1)) == full
        assert reworded(full, LAY, Random(1)) == short


def one(spoken: str) -> ClaimCheck:
    return ClaimCheck.of([Fact("a", Category.ONSET, spoken, Disclosure.ON_REQUEST, spoken)], [], [])


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        ("It began two hours ago.", "It started two hours ago."),
        ("It began two hours ago.", "Two hours ago."),
        ("It began two hours ago.", "Well, two hours ago, doctor."),
        ("It began two hours ago.", "I'm scared, it started two hours ago."),
        ("It began two hours ago.", "It began two hours ago, and I'm worried about it."),
        ("I have had no fever.", "Um, I've had no fever, to be honest."),
        ("It does not go to my back.", "It doesn't go to my back."),
        ("I have hypertension.", "I have high blood pressure."),
    ],
)
def test_lets_out_what_claims_the_same(spoken: str, said: str) -> None:
    assert one(spoken).stated(said) == {canonical(spoken)}


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        ("My mother has it, and I do not.", "I have it, and my mother does not."),
        ("I have had no fever.", "No fever, I have had."),
        ("I have no allergies.", "Allergies."),
        ("It began two hours ago.", "It began two hours ago?"),
        ("It began two hours ago.", "I don't know, it began two hours ago."),
        ("It began two hours ago.", "I wonder if it began two hours ago."),
        ("It began two hours ago.", "I'm not worried, it began two hours ago."),
        ("It began two hours ago.", "Two hours ago, and two hours ago."),
        ("I take only the pill.", "Only the pill, and it began."),
        ("I have hypertension.", "I have hypotension."),
        ("I have high blood pressure.", "I have high."),
    ],
)
def test_refuses_another_order_a_hedge_and_half_a_statement(spoken: str, said: str) -> None:
    assert not one(spoken).stated(said)
    assert not one(spoken).passes(said)


def test_statements_are_joined_by_and_only_where_each_is_whole() -> None:
    facts = [
        Fact("a", Category.CHARACTER, "x", Disclosure.ON_REQUEST, "It is a dull ache."),
        Fact("b", Category.SITE, "y", Disclosure.ON_REQUEST, "It is in a tooth."),
    ]
    check = ClaimCheck.of(facts, [], [])
    (both,) = joined([fact.words for fact in facts], runs_on=True)
    assert both == "It is a dull ache, and it is in a tooth."
    assert len(check.stated(both)) == 2
    for refused in (
        "It is a dull ache, it is in a tooth.",
        "A dull ache, and in a tooth.",
        "It is a dull ache but it is in a tooth.",
    ):
        assert not check.stated(refused), refused


def test_what_and_could_reach_over_stays_apart() -> None:
    for sentence in ("I have no fever.", "It began two hours ago.", "My mother has it.", "It is on the left."):
        kept = joined([sentence, "It is not in a tooth."], runs_on=True)
        assert kept == [sentence, "It is not in a tooth."]


def test_a_flood_is_no_statement() -> None:
    assert not one("It began two hours ago.").stated("doctor, " * 5_000 + "it began two hours ago.")
