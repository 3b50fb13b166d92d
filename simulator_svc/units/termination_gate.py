"""The Termination Gate: should the dialogue end after this turn of the doctor, and why?

The rules are those of tests/benchmarks/labels/gate_guideline.md: it ends with a diagnosis and a plan, a farewell, the
patient's questions answered, a loop or the turn limit. Whatever waits for the patient's answer keeps it alive. Where
the rules are unsure they say so, and a model may be asked (leaving.py); without one it goes on, and the turn limit
bounds it.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator_svc.dialogue import Ending, Speaker, Turn
from simulator_svc.units.leaving import Leaving
from simulator_svc.units.loops import repeats
from simulator_svc.units.speech_acts import Acts, doctor_acts

# A described cause and its treatment stand no further apart than this, in the doctor's turns.
_NEXT = 2


class TerminationGate:
    def __init__(self, max_doctor_turns: int, loop_repeats: int) -> None:
        self._limit = max_doctor_turns
        self._repeats = loop_repeats

    async def ends(
        self, dialogue: Sequence[Turn], names: tuple[str, ...], max_doctor_turns: int | None, leaving: Leaving
    ) -> Ending | None:
        """What the rules decide, and where they are unsure the model."""
        ending = self.decide(dialogue, names, max_doctor_turns)
        doubt = None if ending else self.doubt(dialogue, names)
        return doubt if doubt and await leaving.now(dialogue, names) else ending

    def decide(
        self, dialogue: Sequence[Turn], names: tuple[str, ...] = (), max_doctor_turns: int | None = None
    ) -> Ending | None:
        """By the rules, for the dialogue up to the doctor's turn that is to be answered. None: it goes on.

        `names` are further names of illnesses (the case's own), so that a rare one is heard as any other.
        """
        acts = doctor_acts(dialogue, names)
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

    def doubt(self, dialogue: Sequence[Turn], names: tuple[str, ...] = ()) -> Ending | None:
        """Where `decide` lets it go on: the ending that this may be all the same; None where the rules are sure.

        They are not when nothing waits for the patient and something was said of the illness or of what to do.
        """
        acts = doctor_acts(dialogue, names)
        told = any(act.diagnoses or act.explains or act.accounts for act in acts)
        planned = any(act.plans or act.treats or act.steps for act in acts)
        if acts[-1].waits or not (told or planned):
            return None
        return Ending.DIAGNOSIS_AND_PLAN if told and planned else Ending.FAREWELL


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
