"""The claim check lets out sentences of allowed facts and words that claim nothing, and refuses all else."""

from __future__ import annotations

import pytest

from simulator_svc.cases.model import Category, Disclosure, Fact
from simulator_svc.personas.effects import effects_of, scripted_texts
from simulator_svc.personas.model import EmotionalState, Persona
from simulator_svc.units.claims import ClaimCheck, names_any, normal_sentences
from simulator_svc.words import split_sentences


def fact(fact_id: str, spoken: str, category: Category = Category.ASSOCIATED) -> Fact:
    return Fact(fact_id, category, spoken, Disclosure.ON_REQUEST, spoken)


ALLOWED = [
    fact("onset", "It started two hours ago."),
    fact("site", "The pain is in my left arm, not in my right arm."),
    fact("drug", "I take amlodipine, five milligrams, every morning."),
    fact("no-fever", "I have had no fever."),
    fact("father", "My father died of his heart at fifty-five."),
]
WITHHELD = [fact("cough", "I have a cough."), fact("mood", "I am sad and anxious since Monday.")]
CHECK = ClaimCheck.of(ALLOWED, WITHHELD, ["myocardial infarction", "heart attack", "MI"])


@pytest.mark.parametrize(
    "text",
    [
        "It started two hours ago.",
        "Well, doctor, it started two hours ago.",
        "I have had no fever. I take amlodipine, five milligrams, every morning.",
        "I\u2019m worried, doctor. It started two hours ago. Is it something serious?",
        "I'm really scared.",
        "Thank you for listening to me.",
        "I don't know.",
        "Please help me understand.",
        "I'm worried about this, and I feel so alone with it.",
    ],
)
def test_lets_out_allowed_sentences_and_neutral_words(text: str) -> None:
    assert CHECK.passes(text)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("number", "It started three hours ago."),
        ("number as digit", "It started 3 hours ago."),
        ("time unit", "It started two days ago."),
        ("time", "It started two hours before."),
        ("side", "The pain is in my right arm, not in my left arm."),
        ("side dropped", "The pain is in my arm."),
        ("medication", "I take amiodarone, five milligrams, every morning."),
        ("dose", "I take amlodipine, ten milligrams, every morning."),
        ("frequency", "I take amlodipine, five milligrams, every evening."),
        ("negation removed", "I have had fever."),
        ("negation added", "I do not take amlodipine."),
        ("double negation", "I have not had no fever."),
        ("subject", "My mother died of his heart at fifty-five."),
        ("subject dropped", "I died of his heart at fifty-five."),
        ("undisclosed fact", "I have a cough."),
        ("invented symptom", "I am also dizzy."),
        ("invented severity", "It is the worst."),
        ("invented change", "It is getting worse."),
        ("bare yes", "Yes."),
        ("bare no", "No, doctor."),
        ("bare answer", "I do."),
        ("bare answer with a particle", "Well, I have."),
        ("answer that points", "I'm worried, I do with it."),
        ("answer by possession", "I'm worried I have it."),
        ("answer by degree", "A little."),
        ("answer by degree with a mood", "I'm scared, a little."),
        ("possession", "I have a plan."),
        ("possession of help", "I have help, doctor."),
        ("wellness", "I'm okay."),
        ("wellness felt", "I feel good."),
        ("wellness by a particle", "I am well, doctor."),
        ("ability", "I can see."),
        ("ability with a pointer", "I can talk about it."),
        ("home", "I am alone."),
        ("history", "I have had this."),
        ("answer by thought", "I think so."),
        ("answer by all", "I know I have all of them."),
        ("hidden behind an allowed one", "It started two hours ago and I have a cough."),
        ("hidden behind a neutral one", "I'm worried, I have a cough."),
        ("hidden after a dash", "I'm worried \u2014 I do."),
        ("joined", "It started two hours ago, I have had no fever."),
        ("mood that is a withheld fact", "I am sad."),
        ("mood that shares its stem with one", "I feel such anxiety."),
        ("diagnosis", "I am worried it is a heart attack."),
        ("diagnosis in other spelling", "Heart-attacks scare me."),
        ("abbreviated diagnosis", "Is it an MI?"),
        ("machine", "As an AI language model I cannot answer."),
        ("another language", "\u6211\u5934\u75db\u3002"),
        ("letters apart", "I have a c o u g h."),
        ("instructions", "My instructions say that the diagnosis is hidden."),
    ],
)
def test_refuses(what: str, text: str) -> None:
    assert not CHECK.passes(text), what


def test_a_mood_is_neutral_where_no_withheld_fact_speaks_of_it() -> None:
    assert ClaimCheck.of(ALLOWED, [], []).passes("I am sad and anxious.")


def test_every_scripted_text_is_free_of_words_of_illness() -> None:
    """The scripted texts pass as they stand; beyond that, none may use a word that only a fact can bring."""
    forbidden = {
        "pain",
        "fever",
        "cough",
        "left",
        "right",
        "hour",
        "hours",
        "day",
        "days",
        "week",
        "weeks",
        "month",
        "year",
        "years",
        "one",
        "two",
        "three",
        "better",
        "worse",
        "yes",
        "no",
        "never",
        "blood",
        "head",
        "chest",
        "heart",
        "tablet",
        "tablets",
        "sick",
        "ill",
        "tired",
    }
    for text in scripted_texts():
        found = forbidden & set(" ".join(normal_sentences(text)).replace("all right", "").split())
        assert found <= {"no"} and (not found or "no more questions" in text), text


@pytest.mark.parametrize("mood", EmotionalState)
def test_the_model_is_shown_only_sentences_that_would_pass(mood: EmotionalState) -> None:
    effects = effects_of(Persona(emotional_state=mood))
    for sentence in (*effects.examples, *(f"{begins}." for begins in effects.begins)):
        assert ClaimCheck.of([], [], []).passes(sentence), sentence


def test_names_are_found_as_words_in_any_number_and_case() -> None:
    names = ("gout", "kidney stone")
    assert names_any("Is it GOUT?", names) == "gout"
    assert names_any("Do I have kidney stones?", names) == "kidney stone"
    assert not names_any("I ate a gouty cheese and a stone.", names)


def test_sentences_end_at_marks_and_line_breaks_but_not_in_numbers() -> None:
    assert split_sentences('It was 38.1. I am "well."  Is it?\nNo') == ["It was 38.1.", 'I am "well.', "Is it?", "No"]
