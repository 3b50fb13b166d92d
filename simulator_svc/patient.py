"""The simulated patient: one turn = gate, affect, fact.

What leaves `open` and `respond` has passed the Fact Unit: it states allowed facts only and names no diagnosis,
whatever the doctor says and whatever the language model writes. Nothing is kept between turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from opentelemetry import metrics, trace
from pydantic import BaseModel, ConfigDict, Field

from service_kit.errors import InvalidArgument, ServiceError
from service_kit.spans import traced
from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Ending, ReplySource, Speaker, Turn, doctor_turns
from simulator_svc.language import LanguageModel
from simulator_svc.personas.effects import Effects, effects_of
from simulator_svc.personas.model import Level, Persona
from simulator_svc.units.affective_unit import AffectiveUnit
from simulator_svc.units.fact_unit import Answer, FactUnit
from simulator_svc.units.leaving import Leaving
from simulator_svc.units.nearest import Nearest
from simulator_svc.units.termination_gate import TerminationGate
from simulator_svc.units.wording import Speech

_tracer = trace.get_tracer(__name__)
_replies = metrics.get_meter(__name__).create_counter(
    "anamnesis.simulator.replies", "{reply}", "Patient replies by how they left the Fact Unit and how they ended"
)


class PatientSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_doctor_turns: int = Field(default=12, ge=1, le=64)
    # A doctor turn that says the same as this many earlier ones is a loop.
    loop_repeats: int = Field(default=2, ge=1, le=16)
    # Times the share of turns that show a feeling, which is the persona's, and of answers that the model words; 0 never
    # asks the model.
    draft_share: float = Field(default=1.0, ge=0, le=10)
    worded_share: float = Field(default=0.7, ge=0, le=1)
    draft_tokens: int = Field(default=36, ge=4, le=256)
    temperature: float = Field(default=0.5, ge=0, le=2)
    max_rewrites: int = Field(default=1, ge=0, le=8)


@dataclass(frozen=True)
class PatientTurn:
    text: str
    # None while the consultation goes on.
    ending: Ending | None
    # The ids of the facts that this turn may state, and of those it states.
    allowed: frozenset[str]
    stated: frozenset[str]
    source: ReplySource
    rewrites: int


class Patient:
    """Stateless: every replica answers the same dialogue, persona and seed alike, but for the model's own words."""

    def __init__(
        self,
        language: LanguageModel | None,
        settings: PatientSettings,
        *,
        gate: TerminationGate | None = None,
        facts: FactUnit | None = None,
    ) -> None:
        """`gate` and `facts` replace the units in an evaluation of what these are for; the service gives neither."""
        self._gate = gate or TerminationGate(settings.max_doctor_turns, settings.loop_repeats)
        self._affect = AffectiveUnit(language, settings.draft_tokens, settings.temperature)
        self._facts = facts or FactUnit()
        self._nearest = Nearest(language)
        self._leaving = Leaving(language)
        self._settings = settings
        self._speaks = language is not None

    def open(self, case: Case, persona: Persona, seed: int) -> PatientTurn:
        """The patient's opening words: the complaint, in plain words, before any question."""
        random = Random(f"{seed}:{case.case_id}:open")
        effects = effects_of(persona)
        answer = self._facts.opening(case, effects, _speech(persona), random)
        return self._leave(answer, None, ReplySource.COMPOSED, 0)

    async def respond(
        self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn], max_doctor_turns: int | None
    ) -> PatientTurn:
        """The patient's next words; the dialogue ends with the doctor's turn."""
        if not dialogue or dialogue[-1].speaker is not Speaker.DOCTOR:
            raise InvalidArgument("dialogue", "must end with a turn of the doctor")
        doctor = doctor_turns(dialogue)
        random = Random(f"{seed}:{case.case_id}:{len(doctor)}")
        effects, speech = effects_of(persona), _speech(persona)
        with traced(_tracer, "simulator.respond", {"anamnesis.case_id": case.case_id}) as span:
            with traced(_tracer, "simulator.gate"):
                ending = await self._gate.ends(dialogue, case.diagnosis_names, max_doctor_turns, self._leaving)
            with traced(_tracer, "simulator.fact") as chosen:
                if ending:
                    answer = self._facts.closing(case, effects, speech, ending, random)
                else:
                    question = self._facts.question(case, dialogue)
                    if question.unclear and not question.facts:
                        question = question.with_facts(await self._nearest.facts(case, question.unclear))
                    answer = self._facts.answer(case, effects, speech, question, dialogue, random)
                chosen.set_attributes({"simulator.allowed": len(answer.allowed), "simulator.stated": len(answer.facts)})
            if ending:
                turn = self._leave(answer, ending, ReplySource.COMPOSED, 0)
            else:
                turn = await self._in_own_words(answer, effects, speech, random)
            span.set_attribute("simulator.source", turn.source)
            span.set_attribute("simulator.ending", turn.ending or "")
            return turn

    async def _in_own_words(self, answer: Answer, effects: Effects, speech: Speech, random: Random) -> PatientTurn:
        """The model writes what is felt and words the answer; what the Fact Unit lets pass leads the reply."""
        share = self._settings.draft_share
        feels = random.random() < effects.feeling_share * share
        words = random.random() < self._settings.worded_share * share
        sentences = self._affect.within(answer.sentences, feels) if words else ()
        if not self._speaks or not (feels or sentences):
            return self._leave(answer, None, ReplySource.COMPOSED, 0)
        refused = 0
        for rewrite in range(self._settings.max_rewrites + 1):
            with traced(_tracer, "simulator.affect", {"anamnesis.rewrite": rewrite}):
                try:
                    # What is felt is the likelier to be refused: where there is more to say, a rewrite does without.
                    draft = await self._affect.draft(
                        effects, sentences, feels and not (rewrite and sentences), speech, random
                    )
                except ServiceError:  # no model, no words of its own; the patient answers all the same
                    break
            with traced(_tracer, "simulator.fact") as span:
                own = self._facts.faithful_part(draft, answer)
                span.set_attribute("simulator.passed", own is not None)
            if own:
                return self._leave(own, None, ReplySource.REWRITTEN if rewrite else ReplySource.MODEL, rewrite)
            refused = rewrite
        return self._leave(answer, None, ReplySource.PLAIN_STATEMENT, refused)

    def _leave(self, answer: Answer, ending: Ending | None, source: ReplySource, rewrites: int) -> PatientTurn:
        """The one way out: the whole reply is checked once more, whoever wrote its parts."""
        text, stated = self._facts.released(answer)
        _replies.add(1, {"source": source, "ending": ending or "none"})
        return PatientTurn(text, ending, answer.allowed, stated, source, rewrites)


def _speech(persona: Persona) -> Speech:
    return Speech(lay=persona.health_literacy is not Level.HIGH, formal=persona.education is Level.HIGH)
