"""A model has a word where the gate's rules are unsure, and nowhere else; late, it has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from service_kit.errors import DeadlineExceeded, ServiceError
from simulator_svc.dialogue import Ending, Speaker, Turn
from simulator_svc.language import ModelMessage
from simulator_svc.units import leaving
from simulator_svc.units.leaving import Head, Leaving, read_head
from simulator_svc.units.speech_acts import doctor_acts
from simulator_svc.units.termination_gate import TerminationGate

GATE = TerminationGate(max_doctor_turns=4, loop_repeats=2)
# A plan, and no word for what it is: the rules hear no diagnosis.
UNSURE = [Turn(Speaker.PATIENT, "It itches."), Turn(Speaker.DOCTOR, "Well, that is how it is. Use the ointment daily.")]
OPEN = [Turn(Speaker.PATIENT, "It itches."), Turn(Speaker.DOCTOR, "I'll give you an ointment. Since when?")]
NOTHING = [Turn(Speaker.PATIENT, "It itches."), Turn(Speaker.DOCTOR, "I see.")]
GOODBYE = [*OPEN, Turn(Speaker.PATIENT, "May."), Turn(Speaker.DOCTOR, "Goodbye.")]


class Embeddings:
    """Every text lies at the same place."""

    def __init__(self, value: float, error: ServiceError | None = None, numbers: int = 1) -> None:
        self.vector = [value] * numbers
        self.error = error
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        self.asked.append(list(texts))
        if self.error:
            raise self.error
        return [self.vector for _ in texts]

    async def complete(self, messages: Sequence[ModelMessage], **options: object) -> str:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that follows the sign of a text's one number."""
    head = Head("one number", 0.75, 0.0, {"last.treats": 0.1}, (5.0,), (0.0,))
    monkeypatch.setattr(leaving, "read_head", lambda: head)


@pytest.mark.parametrize(("value", "ending"), [(1.0, Ending.FAREWELL), (-1.0, None), (0.1, None)])
async def test_where_the_rules_are_unsure_the_model_decides(value: float, ending: Ending | None) -> None:
    model = Embeddings(value)
    assert await GATE.ends(UNSURE, (), None, Leaving(model)) is ending
    assert model.asked == [[UNSURE[-1].text, UNSURE[0].text]]


@pytest.mark.parametrize(("dialogue", "ending"), [(OPEN, None), (NOTHING, None), (GOODBYE, Ending.FAREWELL)])
async def test_where_the_rules_are_sure_it_is_not_asked(dialogue: list[Turn], ending: Ending | None) -> None:
    model = Embeddings(1.0 if ending is None else -1.0)
    assert await GATE.ends(dialogue, (), None, Leaving(model)) is ending
    assert model.asked == []


@pytest.mark.parametrize(
    "model", [None, Embeddings(1.0, DeadlineExceeded("inference-frozen", "late")), Embeddings(1.0, numbers=2)]
)
async def test_without_a_model_late_or_with_another_encoder_the_rules_stand(model: Embeddings | None) -> None:
    assert await GATE.ends(UNSURE, (), None, Leaving(model)) is None


async def test_the_turn_limit_ends_it_whatever_the_model_says() -> None:
    assert await GATE.ends(UNSURE, (), 1, Leaving(Embeddings(-1.0))) is Ending.TURN_LIMIT


async def test_a_flood_is_cut_before_it_is_embedded() -> None:
    flood = [Turn(Speaker.DOCTOR, "Use the ointment daily. " * 10_000)]
    model = Embeddings(1.0)
    assert await GATE.ends(flood, (), None, Leaving(model)) is Ending.FAREWELL
    assert [len(text) for text in model.asked[0]] == [2_000, 1]


def test_the_head_that_is_shipped_knows_what_the_rules_hear_and_its_encoders_vectors() -> None:
    head = read_head(leaving.HEAD)
    assert set(head.heard) == set(leaving.heard(doctor_acts(UNSURE, ())))
    assert len(head.doctor) == len(head.before) == 384
    assert 0.5 < head.threshold < 1


def test_a_head_with_a_field_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(json.loads(leaving.HEAD.read_text()) | {"scale": 1.0}))
    with pytest.raises(TypeError, match="scale"):
        read_head(path)
