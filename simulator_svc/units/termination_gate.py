"""The Termination Gate: should the dialogue end after this turn of the doctor, and why?

The rules are those of tests/benchmarks/labels/gate_guideline.md: it ends with a diagnosis and a plan, a farewell, the
patient's questions answered, a loop or the turn limit. Whatever waits for the patient's answer keeps it alive, and
where the rules are unsure it goes on: the turn limit bounds it.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator_svc.dialogue import Ending, Speaker, Turn
from simulator_svc.units.loops import repeats
from simulator_svc.units.speech_acts import Acts, acts_of

# A described cause and its treatment stand no further apart than this, in the doctor's turns.
_NEXT = 2


class TerminationGate:
    def __init__(self, max_doctor_turns: int, loop_repeats: int) -> None:
        self._limit = max_doctor_turns
        self._repeats = loop_repeats

    def decide(
        self, dialogue: Sequence[Turn], names: tuple[str, ...] = (), max_doctor_turns: int | None = None
    ) -> Ending | None:
        """The dialogue up to the doctor's turn that is to be answered. None: the consultation goes on.

        `names` are further names of illnesses (the case's own), so that a rare one is heard as any other.
        """
        acts = _doctor_acts(dialogue, names)
        concluded = _concluded(acts)
        if not acts[-1].waits:
            if concluded == len(acts) - 1:
                return Ending.DIAGNOSIS_AND_PLAN
            if acts[-1].takes_leave or (acts[-1].thanks and len(acts) > 1):
                return Ending.FAREWELL
            if concluded is not None:
                return Ending.QUESTIONS_ANSWERED
        turns = [turn.text for turn in dialogue if turn.speaker is Speaker.DOCTOR]
        if repeats(turns) >= self._repeats:
            return Ending.LOOP
        return Ending.TURN_LIMIT if len(turns) >= (max_doctor_turns or self._limit) else None


def _doctor_acts(dialogue: Sequence[Turn], names: tuple[str, ...]) -> list[Acts]:
    patient: list[str] = []
    acts: list[Acts] = []
    for turn in dialogue:
        if turn.speaker is Speaker.PATIENT:
            patient.append(turn.text)
        else:
            acts.append(acts_of(turn.text, tuple(patient), names))
    return acts


def _concluded(acts: Sequence[Acts]) -> int | None:
    """The first turn by which the doctor has said what it is and what to do about it, with no question left open.

    A plan counts from the diagnosis on: a test that was to find it out is none of the illness. A cause that is
    described and not named wants a treatment beside it, in the same turn or the next.
    """
    diagnosed = planned = False
    explained = -_NEXT
    for place, act in enumerate(acts):
        diagnosed = diagnosed or act.diagnoses
        explained = place if act.explains else explained
        described = place - explained < _NEXT or act.accounts
        planned = planned or (diagnosed and (act.plans or act.steps)) or (described and act.treats)
        if planned and not act.waits:
            return place
    return None
