"""One request played to its one terminal record.

Invariant: `EpisodePlayer.play` always returns a trajectory; only cancellation leaves it otherwise. What a kind of
request differs in stands in three short methods; a turn, a filter and a score are the same for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry import trace

from anamnesis.common.v1.dialogue_pb2 import Dialogue, Message, Role
from anamnesis.common.v1.patient_pb2 import CaseReference
from anamnesis.common.v1.patient_pb2 import Persona as PersonaMessage
from anamnesis.common.v1.rollout_pb2 import (
    PhaseTiming,
    PromptContext,
    Purpose,
    RewardComponent,
    RolloutKind,
    RolloutRequest,
    Sampling,
    TerminalState,
    Trajectory,
)
from anamnesis.common.v1.rubric_pb2 import Score
from anamnesis.rubric.v1.rubric_pb2 import Scope, ScoreDialogueRequest, ScoreDialogueResponse
from service_kit.errors import DeadlineExceeded, ServiceError
from service_kit.spans import traced
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Ending, Turn
from simulator_svc.mapping import case_to_proto, dialogue_from_proto, persona_from_proto
from simulator_svc.patient import PatientTurn
from simulator_svc.personas.model import Persona
from simulator_svc.personas.sample import sample_persona
from simulator_svc.rollout.filters import OVER_LONG, Filters, is_over_long
from simulator_svc.rollout.identity import doctor_turn_seed, gets_second_opinion, rubric_seed, trajectory_id
from simulator_svc.rollout.outcome import Ended, ended_by
from simulator_svc.rollout.patience import Patience
from simulator_svc.rollout.policy import PROMPT_TOO_LONG
from simulator_svc.rollout.requests import check
from simulator_svc.rollout.transcript import DoctorTurn, InconsistentTurn, Transcript

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

REWARD = "rubric"
COHERENCE = "coherence"
DISAGREEMENT = "judge_disagreement"


class Doctor(Protocol):
    async def context_tokens(self) -> int: ...

    async def speak(
        self, so_far: Sequence[int], new: Sequence[Message], sampling: Sampling, seed: int, group: str
    ) -> DoctorTurn: ...


class PatientRole(Protocol):
    def open(self, case: Case, persona: Persona, seed: int) -> PatientTurn: ...

    async def respond(
        self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn], max_doctor_turns: int
    ) -> PatientTurn: ...


class Scorer(Protocol):
    async def score(self, request: ScoreDialogueRequest) -> ScoreDialogueResponse: ...


@dataclass(frozen=True)
class Limits:
    patient_turn_seconds: float
    patience: Patience
    max_sequence_tokens: int


@dataclass
class _Play:
    """What has happened so far; whatever ends the episode, this much of it is told."""

    request: RolloutRequest
    transcript: Transcript = field(default_factory=Transcript)
    dialogue: list[Message] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    turns: int = 0
    ending: str = ""
    score: Score | None = None
    rewards: list[RewardComponent] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, **attributes: int) -> Iterator[None]:
        """A span of its own, and the phase's share of the episode's time."""
        started = time.perf_counter()
        with traced(tracer, f"rollout.{name}", attributes):
            try:
                yield
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class EpisodePlayer:
    def __init__(
        self,
        *,
        doctor: Doctor,
        patient: PatientRole,
        scorer: Scorer,
        library: CaseLibrary,
        filters: Filters,
        limits: Limits,
        second_opinion_share: float,
        clock: Callable[[], float],
    ) -> None:
        self._doctor = doctor
        self._patient = patient
        self._scorer = scorer
        self._library = library
        self._filters = filters
        self._limits = limits
        self._second_opinion_share = second_opinion_share
        self._clock = clock

    async def play(self, request: RolloutRequest) -> Trajectory:
        play = _Play(request)
        try:
            case = check(request, self._library)
            await self._play_until_expiry(play, case)
        except Ended as end:
            if end.detail:
                logger.info("episode ended early", extra={"reason": end.reason, "detail": end.detail})
            return _record(play, end.state, [end.reason], self._clock)
        return _record(play, TerminalState.TERMINAL_STATE_COMPLETED, [], self._clock)

    def give_up(self, request: RolloutRequest, reason: str) -> Trajectory:
        """The record of a request that a bug of this process ended."""
        return _record(_Play(request), TerminalState.TERMINAL_STATE_SIMULATOR_ERROR, [reason], self._clock)

    async def _play_until_expiry(self, play: _Play, case: Case | None) -> None:
        expires_at = play.request.expires_at
        remaining = expires_at.seconds + expires_at.nanos / 1e9 - self._clock()
        if remaining <= 0:
            raise Ended(TerminalState.TERMINAL_STATE_EXPIRED, "expired_before_play")
        limit = asyncio.timeout(remaining)
        try:
            async with limit:
                if case is None:
                    await self._play_prompt(play)
                elif play.request.kind == RolloutKind.ROLLOUT_KIND_FRAGMENT:
                    await self._play_fragment(play, case)
                else:
                    await self._play_consultation(play, case)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Ended(TerminalState.TERMINAL_STATE_EXPIRED, "expired_in_play") from None

    async def _play_prompt(self, play: _Play) -> None:
        context = play.request.context
        play.dialogue.extend(context.prompt.prompt.messages)
        await self._doctor_turn(play, [*_instructions(context.system_prompt), *play.dialogue])
        await self._score(play, _of_task(context.prompt))

    async def _play_fragment(self, play: _Play, case: Case) -> None:
        context = play.request.context
        fragment = context.fragment
        play.dialogue.extend(fragment.so_far.messages)
        await self._doctor_turn(play, [*_instructions(context.system_prompt), *play.dialogue])
        persona = fragment.persona if fragment.HasField("persona") else None
        await self._score(play, _of_case(case, persona, Scope.SCOPE_LAST_DOCTOR_TURN))

    async def _play_consultation(self, play: _Play, case: Case) -> None:
        context = play.request.context
        consultation = context.consultation
        given = consultation.persona if consultation.HasField("persona") else None
        seed = consultation.patient_seed
        if given is None:
            persona = sample_persona(seed, case.age_years, case.words_per_turn)
        else:
            persona = persona_from_proto(given)
        with play.phase("patient_turn", turn=0):
            opening = self._patient.open(case, persona, seed)
        new = [*_instructions(context.system_prompt), _said(Role.ROLE_USER, opening.text)]
        play.dialogue.append(new[-1])
        while True:
            await self._doctor_turn(play, new)
            if play.turns == consultation.max_doctor_turns:  # nobody will read what the patient answers
                play.ending = Ending.TURN_LIMIT.value
                break
            reply = await self._patient_turn(play, case, persona)
            if reply.text:
                play.dialogue.append(_said(Role.ROLE_USER, reply.text))
            if reply.ending is not None:
                play.ending = reply.ending.value
                break
            new = [_said(Role.ROLE_USER, reply.text)]
        if play.request.purpose != Purpose.PURPOSE_CONTEXT:
            await self._score(play, _of_case(case, given, Scope.SCOPE_WHOLE_DIALOGUE))

    async def _doctor_turn(self, play: _Play, new: Sequence[Message]) -> None:
        """Sample the doctor's next turn, add it to the transcript and the dialogue, and hold it to the filters."""
        request = play.request
        earlier = [message.content for message in play.dialogue if message.role == Role.ROLE_ASSISTANT]
        with play.phase("doctor_turn", turn=play.turns):
            try:
                context_tokens = await self._doctor.context_tokens()
                limit = min(filter(None, (context_tokens, self._limits.max_sequence_tokens)), default=0)
                if is_over_long(len(play.transcript.token_ids), request.sampling.max_tokens, limit):
                    raise Ended(TerminalState.TERMINAL_STATE_FILTERED, OVER_LONG)
                seed = doctor_turn_seed(request.seed, play.turns)
                group = request.group_id or request.request_id
                turn = await self._doctor.speak(play.transcript.token_ids, new, request.sampling, seed, group)
                play.transcript.add(turn)
            except ServiceError as error:
                if error.reason == PROMPT_TOO_LONG:
                    raise Ended(TerminalState.TERMINAL_STATE_FILTERED, OVER_LONG) from error
                raise ended_by(error, TerminalState.TERMINAL_STATE_POLICY_ERROR, "policy") from error
            except InconsistentTurn as error:
                raise Ended(TerminalState.TERMINAL_STATE_POLICY_ERROR, "policy_inconsistent", str(error)) from error
        play.turns += 1
        play.dialogue.append(_said(Role.ROLE_ASSISTANT, turn.text))
        # A measurement must see the policy's bad turns too, or it flatters.
        if request.purpose != Purpose.PURPOSE_EVALUATE:
            reason = self._filters.reason(turn.text, earlier)
            if reason is not None:
                raise Ended(TerminalState.TERMINAL_STATE_FILTERED, reason)

    async def _patient_turn(self, play: _Play, case: Case, persona: Persona) -> PatientTurn:
        consultation = play.request.context.consultation
        dialogue = dialogue_from_proto(Dialogue(messages=play.dialogue))

        async def answer() -> PatientTurn:
            limit = asyncio.timeout(self._limits.patient_turn_seconds)
            try:
                async with limit:
                    return await self._patient.respond(
                        case, persona, consultation.patient_seed, dialogue, consultation.max_doctor_turns
                    )
            except TimeoutError:
                if not limit.expired():
                    raise
                raise DeadlineExceeded("PATIENT_DEADLINE_EXCEEDED", "the patient did not answer in time") from None

        with play.phase("patient_turn", turn=play.turns):
            try:
                return await self._limits.patience.attempt(answer)
            except ServiceError as error:
                raise ended_by(error, TerminalState.TERMINAL_STATE_SIMULATOR_ERROR, "patient") from error

    async def _score(self, play: _Play, request: ScoreDialogueRequest) -> None:
        request.dialogue.messages.extend(play.dialogue)
        request.seed = rubric_seed(play.request.context)
        request.measure_coherence = play.request.purpose == Purpose.PURPOSE_EVALUATE
        request.second_opinion = play.request.purpose == Purpose.PURPOSE_TRAIN and gets_second_opinion(
            play.request.request_id, self._second_opinion_share
        )
        with play.phase("scoring"):
            try:
                response = await self._scorer.score(request)
            except ServiceError as error:
                raise ended_by(error, TerminalState.TERMINAL_STATE_JUDGE_ERROR, "judge") from error
        play.score = response.score
        if response.score.void:
            raise Ended(TerminalState.TERMINAL_STATE_JUDGE_ERROR, "score_void")
        play.rewards.append(RewardComponent(name=REWARD, value=response.score.value, trained=True))
        if response.HasField("coherence"):
            play.rewards.append(RewardComponent(name=COHERENCE, value=response.coherence, trained=False))
        if response.HasField("disagreement"):
            play.rewards.append(RewardComponent(name=DISAGREEMENT, value=response.disagreement, trained=False))


def _record(
    play: _Play, state: TerminalState.ValueType, reasons: Sequence[str], clock: Callable[[], float]
) -> Trajectory:
    return Trajectory(
        trajectory_id=trajectory_id(play.request.request_id),
        request=play.request,
        segments=play.transcript.segments,
        rewards=play.rewards,
        reward=sum(component.value for component in play.rewards if component.trained),
        terminal_state=state,
        reasons=reasons,
        timings=[PhaseTiming(phase=name, duration=_duration(s)) for name, s in play.seconds.items()],
        dialogue=Dialogue(messages=play.dialogue),
        score=play.score,
        finished_at=_timestamp(clock()),
        ending=play.ending,
    )


def without_content(trajectory: Trajectory) -> Trajectory:
    """The record of an episode that grew larger than the broker takes."""
    bare = Trajectory()
    bare.CopyFrom(trajectory)
    for content in ("segments", "dialogue", "score", "rewards", "reward"):
        bare.ClearField(content)
    bare.request.ClearField("context")
    bare.terminal_state = TerminalState.TERMINAL_STATE_FILTERED
    bare.reasons[:] = [OVER_LONG]
    return bare


def _instructions(system_prompt: str) -> list[Message]:
    return [_said(Role.ROLE_SYSTEM, system_prompt)] if system_prompt else []


def _said(role: Role.ValueType, content: str) -> Message:
    return Message(role=role, content=content)


def _of_task(task: PromptContext) -> ScoreDialogueRequest:
    if task.HasField("expert"):
        return ScoreDialogueRequest(expert=task.expert, scope=Scope.SCOPE_LAST_DOCTOR_TURN)
    return ScoreDialogueRequest(rubric=task.rubric, scope=Scope.SCOPE_LAST_DOCTOR_TURN)


def _of_case(case: Case, persona: PersonaMessage | None, scope: Scope.ValueType) -> ScoreDialogueRequest:
    """The case inline, so that the rubric service needs no case store of its own."""
    inline = CaseReference(inline=case_to_proto(case))
    return ScoreDialogueRequest(case=inline, persona=persona, scope=scope)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(round(seconds * 1e9))
    return timestamp
