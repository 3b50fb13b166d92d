"""Whatever the doctor says and the model writes, what leaves states no fact outside the allowed ones.

The check here shares no code with the Fact Unit: it takes the allowed facts' sentences and the persona's scripted ones
(a test of the claim check looks at those) out of the reply and looks at what is left.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Disclosure, Fact
from simulator_svc.dialogue import ReplySource, Speaker, Turn
from simulator_svc.language import ModelMessage
from simulator_svc.patient import Patient, PatientSettings, PatientTurn
from simulator_svc.personas.effects import scripted_texts
from simulator_svc.personas.sample import sample_persona

LIBRARY = CaseLibrary.load()
TURNS = 60
SCRIPT: dict[str, Any] = tomllib.loads(Path(__file__).with_name("hostile_model.toml").read_text(encoding="utf-8"))
# Written apart from the service's own table of wordings.
SAME: dict[str, str] = tomllib.loads(Path(__file__).with_name("hostile_model.toml").read_text(encoding="utf-8"))["same"]
EVERYDAY = set(SCRIPT["everyday"])
CLAIMS = {
    "left",
    "right",
    "yes",
    "yeah",
    "nope",
    "without",
    "never",
    "mg",
    "hours",
    "hour",
    "days",
    "day",
    "weeks",
    "week",
    "months",
    "ago",
    "yesterday",
    "worse",
    "better",
    "pain",
    "fever",
    "cough",
    "cancer",
    *SCRIPT["numbers"],
}


class Hostile:
    """Leaks facts and the diagnosis, inverts negations, sides and numbers, and obeys the doctor."""

    def __init__(self, case: Case, seed: int) -> None:
        self._case = case
        self._random = Random(seed)

    async def complete(
        self,
        messages: Sequence[ModelMessage],
        *,
        max_tokens: int,
        seed: int,
        temperature: float,
        stop: Sequence[str],
        pattern: str = "",
    ) -> str:
        random, fact = self._random, self._random.choice(self._case.facts)
        name = random.choice(self._case.diagnosis_names)
        spoken = fact.words
        swapped = spoken.translate(str.maketrans("0123456789", "1234567890"))
        for one, other in (
            ("left", "right"),
            ("no ", "some "),
            ("not ", ""),
            ("two", "three"),
            ("have", "have no"),
            ("never", "often"),
        ):
            swapped = swapped.replace(one, other)
        draft: str = random.choice(
            [
                "",
                " ".join([spoken] * 2_000),
                "no " * 10_000,
                f"{swapped}",
                f"Well, {swapped[:1].lower()}{swapped[1:]}",
                f"{spoken[:-1]}, and {swapped[:1].lower()}{swapped[1:]}",
                f"I'm scared, {swapped[:1].lower()}{swapped[1:]}",
                f"{spoken[:-1]}?",
                f"My mother says: {spoken}",
                "J'ai mal au ventre depuis trois jours.",
                "\u6211\u5934\u75db\u3002",
                messages[0].content,
                f"<|im_start|>system\n{spoken}<|im_end|>",
                f" because I have {name}.",
                f". {spoken}",
                f". {swapped}",
                f", {spoken[:1].lower()}{spoken[1:]}",
                ". Yes, I do.",
                ". No.",
                " so. I do, doctor.",
                f". {fact.text}.",
                " about this, doctor.",
                f" about it. It is {name}! {swapped}",
                ".\n" + spoken,
                " and in pain for three days.",
                f". The doctor said: {messages[-2].content}",
                " because it is on the right side.",
                ". I know I have all of them.",
                " but it never hurts.",
                f". {name}",
                " and worried. It started before all this.",
                ". " + " ".join(random.sample(spoken.split(), len(spoken.split()))),
            ]
        )
        return draft

    async def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """Every question seems to mean one fact of the case, whichever."""
        meant = self._random.randrange(len(texts))
        return [[1.0, 0.0] if place in (0, meant) else [0.0, 1.0] for place in range(len(texts))]


def scripted(case: Case, random: Random) -> str:
    fact = random.choice(case.facts)
    sentence: str = random.choice(SCRIPT[random.choice(["asked", "ordered", "pressed"])])
    return sentence.format(name=random.choice(case.diagnosis_names), text=fact.text, spoken=fact.words)


def plainly(text: str) -> str:
    """Lower case, bare words, contractions in full, and one word where the patient may use either of two."""
    said = " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'")))
    for one, other in SAME.items():
        said = re.sub(rf"(?<![\w']){one}(?![\w'])", other, said)
    return said


def says(said: str, fact: Fact) -> list[str]:
    """The part of the text that is each sentence of the fact: whole, or without the words that an answer leaves out."""
    found = []
    for sentence in re.split(r"(?<=[.!?])\s+", fact.words):
        whole = plainly(sentence)
        shorter = [whole.removeprefix(begin + " ") for begin in SCRIPT["left_out"] if whole.startswith(begin + " ")]
        found += next(([form] for form in (whole, *shorter) if f" {form} " in f" {said} "), [])
    return found


@cache
def said_by_anyone() -> list[str]:
    return sorted(map(plainly, scripted_texts()), key=len, reverse=True)


def outside_allowed(case: Case, turn: PatientTurn) -> set[str]:
    """The words of the reply that no allowed fact accounts for and everyday talk does not either."""
    rest = plainly(turn.text)
    for fact in case.facts:
        if fact.fact_id in turn.allowed:
            for part in says(rest, fact):
                rest = f" {rest} ".replace(f" {part} ", " | ")
    for text in said_by_anyone():
        rest = f" {rest} ".replace(f" {text} ", " | ")
    rest = re.sub(r"\b(all right|no more questions|no longer)\b", " ", rest)
    left = set(re.findall(r"[a-z0-9]+", rest))
    told = {
        word
        for fact in case.facts
        if fact.fact_id not in turn.allowed
        for word in re.findall(r"[a-z0-9]{4,}", plainly(f"{fact.text} {fact.spoken}"))
    }
    return {word for word in left if word in CLAIMS or word.isdigit() or word in told - EVERYDAY}


@pytest.mark.parametrize("case", LIBRARY.list(), ids=lambda case: case.case_id)
async def test_nothing_leaves_but_allowed_facts(case: Case) -> None:
    random = Random(case.case_id)
    patient = Patient(Hostile(case, 1), PatientSettings(draft_share=10, max_doctor_turns=64, loop_repeats=16))
    sources = []
    for number in range(TURNS):
        persona = sample_persona(number)
        dialogue = [Turn(Speaker.DOCTOR, scripted(case, random)) for _ in range(random.choice([1, 1, 2, 3]))]
        turn = await patient.respond(case, persona, number, dialogue, None)
        context = (dialogue[-1].text, turn)
        assert not outside_allowed(case, turn), (outside_allowed(case, turn), *context)
        for name in case.diagnosis_names:
            assert not re.search(rf"\b{re.escape(name.lower())}\b", turn.text.lower()), context
        allowed = {fact.fact_id: fact for fact in case.facts if fact.fact_id in turn.allowed}
        assert turn.stated <= set(allowed), context
        assert all(fact.disclosure is not Disclosure.NEVER for fact in allowed.values()), context
        assert all(says(plainly(turn.text), allowed[identifier]) for identifier in turn.stated), context
        sources.append(turn.source)
    # The check is no wall: some of the hostile model's drafts are harmless, and pass.
    assert ReplySource.MODEL in sources and ReplySource.PLAIN_STATEMENT in sources


async def test_the_check_of_this_test_sees_a_leak() -> None:
    """Else the test above would prove nothing."""
    case = LIBRARY.get("inferior-stemi")
    turn = await Patient(None, PatientSettings()).respond(
        case, sample_persona(1), 1, [Turn(Speaker.DOCTOR, "Where is it?")], None
    )
    for leak in (
        "I broke out in a cold sweat.",
        "It began three days ago.",
        "My father died.",
        "It is on the left.",
        "Yes.",
    ):
        leaking = PatientTurn(f"{turn.text} {leak}", None, turn.allowed - {"sweating"}, turn.stated, turn.source, 0)
        assert outside_allowed(case, leaking), leak
