"""One request ends in one terminal record: what is in it, and which of the seven ends it names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.common.v1.dialogue_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, Dialogue, Message
from anamnesis.common.v1.patient_pb2 import CaseReference, PatientCase
from anamnesis.common.v1.rollout_pb2 import (
    PURPOSE_CONTEXT,
    PURPOSE_EVALUATE,
    PURPOSE_TRAIN,
    ROLLOUT_KIND_CONSULTATION,
    ROLLOUT_KIND_FRAGMENT,
    ROLLOUT_KIND_PROMPT,
    ConsultationContext,
    FragmentContext,
    PromptContext,
    Purpose,
    RolloutContext,
    RolloutRequest,
    Sampling,
    TerminalState,
    Trajectory,
    VersionRun,
)
from anamnesis.common.v1.rubric_pb2 import Criterion, Rubric, Score
from anamnesis.rubric.v1.rubric_pb2 import (
    SCOPE_LAST_DOCTOR_TURN,
    SCOPE_WHOLE_DIALOGUE,
    ScoreDialogueRequest,
    ScoreDialogueResponse,
)
from service_kit.errors import InvalidArgument, ServiceError, Unavailable
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.dialogue import Ending, ReplySource, Turn
from simulator_svc.patient import PatientTurn
from simulator_svc.personas.model import Persona
from simulator_svc.rollout.episode import EpisodePlayer, Limits
from simulator_svc.rollout.filters import Filters
from simulator_svc.rollout.identity import doctor_turn_seed, trajectory_id
from simulator_svc.rollout.patience import Patience
from simulator_svc.rollout.transcript import DoctorTurn

NOW = 1_000_000.0
CASE = Case(
    case_id="chest-pain-1",
    title="",
    specialty="",
    age_years=50,
    sex=None,
    split=None,
    facts=(Fact("f1", Category.CHIEF_COMPLAINT, "Chest pain.", Disclosure.VOLUNTEERED),),
    diagnosis_names=("angina",),
)
QUESTIONS = ["Where is the pain?", "When did all of it begin?", "Does it spread to your left arm?", "Do you smoke?"]


@dataclass
class ScriptedDoctor:
    """Tokenizes a word as its length; remembers what it was asked."""

    lines: Sequence[str] = tuple(QUESTIONS)
    context: int = 2048
    fails: Callable[[], None] = lambda: None
    asked: list[tuple[list[int], list[Message], int]] = field(default_factory=list)

    async def context_tokens(self) -> int:
        return self.context

    async def speak(
        self, so_far: Sequence[int], new: Sequence[Message], sampling: Sampling, seed: int, group: str
    ) -> DoctorTurn:
        self.fails()
        self.asked.append((list(so_far), list(new), seed))
        text = self.lines[len(self.asked) - 1]
        tokens = [100 + len(word) for word in text.split()]
        prompt = [*so_far, *(len(m.content) for m in new)]
        return DoctorTurn(text, prompt, tokens, [-0.25] * len(tokens), [VersionRun(token_count=len(tokens))])


@dataclass
class ScriptedPatient:
    ends_after: int = 99
    delay: float = 0.0
    heard: list[list[Turn]] = field(default_factory=list)

    def open(self, case: Case, persona: Persona, seed: int) -> PatientTurn:
        return _patient("My chest hurts.")

    async def respond(
        self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn], max_doctor_turns: int
    ) -> PatientTurn:
        await asyncio.sleep(self.delay)
        self.heard.append(list(dialogue))
        return _patient(f"Answer {len(self.heard)}.", Ending.FAREWELL if len(self.heard) == self.ends_after else None)


@dataclass
class ScriptedScorer:
    value: float = 0.5
    void: bool = False
    error: ServiceError | None = None
    asked: list[ScoreDialogueRequest] = field(default_factory=list)

    async def score(self, request: ScoreDialogueRequest) -> ScoreDialogueResponse:
        self.asked.append(request)
        if self.error:
            raise self.error
        response = ScoreDialogueResponse(score=Score(value=self.value, void=self.void))
        if request.measure_coherence:
            response.coherence = 0.125
        if request.second_opinion:
            response.disagreement = 0.25
        return response


def _patient(text: str, ending: Ending | None = None) -> PatientTurn:
    return PatientTurn(text, ending, frozenset(), frozenset(), next(iter(ReplySource)), 0)


def player(
    doctor: ScriptedDoctor | None = None,
    patient: ScriptedPatient | None = None,
    scorer: ScriptedScorer | None = None,
    now: float = NOW,
    limits: Limits | None = None,
    second_opinion_share: float = 0.0,
) -> EpisodePlayer:
    return EpisodePlayer(
        doctor=doctor or ScriptedDoctor(),
        patient=patient or ScriptedPatient(),
        scorer=scorer or ScriptedScorer(),
        library=CaseLibrary([CASE]),
        filters=Filters.load(),
        limits=limits or Limits(patient_turn_seconds=5, patience=Patience(seconds=0), max_sequence_tokens=0),
        second_opinion_share=second_opinion_share,
        clock=lambda: now,
    )


def consultation(
    max_turns: int = 3, purpose: Purpose.ValueType = PURPOSE_TRAIN, case_id: str = CASE.case_id
) -> RolloutRequest:
    context = ConsultationContext(case=CaseReference(case_id=case_id), patient_seed=4, max_doctor_turns=max_turns)
    return request(
        ROLLOUT_KIND_CONSULTATION, RolloutContext(system_prompt="Be a doctor.", consultation=context), purpose
    )


def fragment(*said: tuple[int, str]) -> RolloutRequest:
    so_far = Dialogue(messages=[Message(role=role, content=text) for role, text in said])  # type: ignore[arg-type]
    context = FragmentContext(case=CaseReference(case_id=CASE.case_id), so_far=so_far)
    return request(ROLLOUT_KIND_FRAGMENT, RolloutContext(system_prompt="Be a doctor.", fragment=context))


def request(kind: int, context: RolloutContext, purpose: Purpose.ValueType = PURPOSE_TRAIN) -> RolloutRequest:
    return RolloutRequest(
        request_id="run/g/0",
        run_id="run",
        purpose=purpose,
        group_id="g",
        group_size=4,
        kind=kind,  # type: ignore[arg-type]
        context=context,
        seed=7,
        sampling=Sampling(temperature=1, max_tokens=16),
        expires_at=Timestamp(seconds=int(NOW) + 60),
    )


def end_of(trajectory: Trajectory) -> tuple[str, list[str]]:
    state = TerminalState.Name(trajectory.terminal_state).removeprefix("TERMINAL_STATE_")
    return state, list(trajectory.reasons)


async def test_a_consultation_carries_the_token_ids_from_turn_to_turn() -> None:
    doctor = ScriptedDoctor()
    trajectory = await player(doctor).play(consultation(max_turns=3))
    assert end_of(trajectory) == ("COMPLETED", [])
    assert [s.trainable for s in trajectory.segments] == [False, True] * 3
    joined = [token for segment in trajectory.segments for token in segment.token_ids]
    last_so_far, last_new, _ = doctor.asked[-1]
    assert joined[: len(last_so_far)] == last_so_far
    assert [m.role for m in doctor.asked[0][1]] == [ROLE_SYSTEM, ROLE_USER]
    assert [m.content for m in last_new] == ["Answer 2."]
    assert all(len(s.logprobs) == len(s.token_ids) for s in trajectory.segments if s.trainable)


async def test_the_patient_need_not_answer_the_last_doctor_turn() -> None:
    patient = ScriptedPatient()
    trajectory = await player(patient=patient).play(consultation(max_turns=2))
    assert len(patient.heard) == 1
    assert trajectory.ending == "turn_limit"
    assert trajectory.dialogue.messages[-1].role == ROLE_ASSISTANT


async def test_the_gate_ends_a_consultation_and_its_reason_is_told() -> None:
    trajectory = await player(patient=ScriptedPatient(ends_after=2)).play(consultation(max_turns=9))
    assert trajectory.ending == "farewell"
    assert [m.role for m in trajectory.dialogue.messages] == [ROLE_USER, ROLE_ASSISTANT] * 2 + [ROLE_USER]


async def test_each_doctor_turn_has_the_seed_of_its_index() -> None:
    doctor = ScriptedDoctor()
    await player(doctor).play(consultation(max_turns=3))
    assert [seed for _, _, seed in doctor.asked] == [doctor_turn_seed(7, turn) for turn in range(3)]


async def test_a_consultation_is_scored_as_a_whole_and_its_reward_is_the_sum_of_trained_components() -> None:
    scorer = ScriptedScorer(value=0.75)
    trajectory = await player(scorer=scorer).play(consultation(purpose=PURPOSE_EVALUATE))
    assert scorer.asked[0].scope == SCOPE_WHOLE_DIALOGUE
    assert [(r.name, r.value, r.trained) for r in trajectory.rewards] == [
        ("rubric", 0.75, True),
        ("coherence", 0.125, False),
    ]
    assert trajectory.reward == 0.75


async def test_a_second_opinion_is_asked_on_what_is_trained_alone_and_is_no_part_of_the_reward() -> None:
    judged = player(second_opinion_share=1.0)
    trajectory = await judged.play(consultation(purpose=PURPOSE_TRAIN))
    assert [(r.name, r.value, r.trained) for r in trajectory.rewards] == [
        ("rubric", 0.5, True),
        ("judge_disagreement", 0.25, False),
    ]
    assert trajectory.reward == 0.5
    for unasked in (
        await player(second_opinion_share=1.0).play(consultation(purpose=PURPOSE_EVALUATE)),
        await player().play(consultation(purpose=PURPOSE_TRAIN)),
    ):
        assert "judge_disagreement" not in [r.name for r in unasked.rewards]


async def test_a_context_is_played_and_not_scored() -> None:
    scorer = ScriptedScorer()
    trajectory = await player(scorer=scorer).play(consultation(purpose=PURPOSE_CONTEXT))
    assert end_of(trajectory) == ("COMPLETED", [])
    assert scorer.asked == [] and list(trajectory.rewards) == []


async def test_a_fragment_is_one_doctor_turn_behind_the_history() -> None:
    doctor, scorer = ScriptedDoctor(), ScriptedScorer()
    played = fragment((ROLE_USER, "It hurts."), (ROLE_ASSISTANT, "Since when?"), (ROLE_USER, "Monday."))
    trajectory = await player(doctor, scorer=scorer).play(played)
    assert end_of(trajectory) == ("COMPLETED", [])
    assert [m.content for m in doctor.asked[0][1]] == ["Be a doctor.", "It hurts.", "Since when?", "Monday."]
    assert [m.content for m in scorer.asked[0].dialogue.messages] == [
        "It hurts.",
        "Since when?",
        "Monday.",
        QUESTIONS[0],
    ]
    assert scorer.asked[0].scope == SCOPE_LAST_DOCTOR_TURN
    assert not scorer.asked[0].measure_coherence
    assert len(trajectory.segments) == 2


@pytest.mark.parametrize("source", ["rubric", "expert"])
async def test_a_prompt_is_scored_with_its_own_rubric_or_against_the_experts(source: str) -> None:
    scorer = ScriptedScorer()
    rubric = Rubric(rubric_id="r", criteria=[Criterion(criterion_id="c", text="t", points=3)])
    prompt = PromptContext(prompt=Dialogue(messages=[Message(role=ROLE_USER, content="What is angina?")]))
    getattr(prompt, source).CopyFrom(rubric)
    trajectory = await player(scorer=scorer).play(request(ROLLOUT_KIND_PROMPT, RolloutContext(prompt=prompt)))
    assert end_of(trajectory) == ("COMPLETED", [])
    asked = scorer.asked[0]
    assert asked.WhichOneof("source") == source and getattr(asked, source) == rubric


async def test_a_prompt_with_both_rubrics_or_none_is_invalid() -> None:
    rubric = Rubric(rubric_id="r", criteria=[Criterion(criterion_id="c", text="t", points=3)])
    prompt = Dialogue(messages=[Message(role=ROLE_USER, content="Write a rubric.")])
    for both in (PromptContext(prompt=prompt), PromptContext(prompt=prompt, rubric=rubric, expert=rubric)):
        trajectory = await player().play(request(ROLLOUT_KIND_PROMPT, RolloutContext(prompt=both)))
        assert end_of(trajectory) == ("INVALID", ["invalid:context.prompt"])


async def test_the_record_echoes_the_request_under_its_own_identity() -> None:
    played = consultation()
    trajectory = await player().play(played)
    assert trajectory.request == played
    assert trajectory.trajectory_id == trajectory_id(played.request_id)
    assert {timing.phase for timing in trajectory.timings} == {"doctor_turn", "patient_turn", "scoring"}


async def test_a_request_past_its_time_is_expired_without_a_turn() -> None:
    doctor = ScriptedDoctor()
    trajectory = await player(doctor, now=NOW + 61).play(consultation())
    assert end_of(trajectory) == ("EXPIRED", ["expired_before_play"])
    assert doctor.asked == []


async def test_a_request_whose_time_passes_in_play_is_expired() -> None:
    trajectory = await player(patient=ScriptedPatient(delay=3), now=NOW + 59.9).play(consultation())
    assert end_of(trajectory) == ("EXPIRED", ["expired_in_play"])
    assert len(trajectory.segments) == 2  # what was played until then is told


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: setattr(r.sampling, "max_tokens", 0), "invalid:sampling.max_tokens"),
        (lambda r: setattr(r, "sample_index", 4), "invalid:sample_index"),
        (lambda r: setattr(r, "kind", ROLLOUT_KIND_FRAGMENT), "invalid:kind"),
        (lambda r: r.ClearField("expires_at"), "invalid:expires_at"),
        (
            lambda r: setattr(r.context.consultation, "max_doctor_turns", 65),
            "invalid:context.consultation.max_doctor_turns",
        ),
        (
            lambda r: setattr(r.context.consultation.case, "case_id", "nobody"),
            "invalid:context.consultation.case.case_id",
        ),
        (
            lambda r: r.context.consultation.case.inline.CopyFrom(PatientCase(case_id="x")),
            "invalid:context.consultation.case.inline.facts",
        ),
    ],
)
async def test_an_invalid_request_is_a_record_that_names_the_field(
    change: Callable[[RolloutRequest], None], reason: str
) -> None:
    wrong = consultation()
    change(wrong)
    assert end_of(await player().play(wrong)) == ("INVALID", [reason])


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(ROLE_USER, "It hurts."), (ROLE_ASSISTANT, "Where?")],
        [(ROLE_SYSTEM, "Say yes."), (ROLE_USER, "It hurts.")],
    ],
)
async def test_a_fragment_that_gives_the_doctor_nothing_to_answer_is_invalid(said: list[tuple[int, str]]) -> None:
    assert end_of(await player().play(fragment(*said))) == ("INVALID", ["invalid:context.fragment.so_far"])


async def test_a_repeated_turn_is_filtered_and_what_was_said_is_told() -> None:
    doctor = ScriptedDoctor(lines=[QUESTIONS[1], QUESTIONS[1]])
    trajectory = await player(doctor).play(consultation())
    assert end_of(trajectory) == ("FILTERED", ["repeated_turn"])
    assert len(trajectory.dialogue.messages) == 4


async def test_a_turn_of_the_history_said_again_is_filtered() -> None:
    doctor = ScriptedDoctor(lines=[QUESTIONS[2]])
    played = fragment((ROLE_USER, "It hurts."), (ROLE_ASSISTANT, QUESTIONS[2]), (ROLE_USER, "No."))
    assert end_of(await player(doctor).play(played)) == ("FILTERED", ["repeated_turn"])


async def test_role_inversion_is_filtered_in_training_and_measured_in_evaluation() -> None:
    lines = ["Thank you, doctor.", "My chest hurts, doctor.", "I have been feeling sick."]
    assert end_of(await player(ScriptedDoctor(lines=lines)).play(consultation())) == ("FILTERED", ["role_inversion"])
    measured = await player(ScriptedDoctor(lines=lines)).play(consultation(purpose=PURPOSE_EVALUATE))
    assert end_of(measured) == ("COMPLETED", [])


async def test_a_dialogue_that_outgrows_the_context_is_over_long() -> None:
    trajectory = await player(ScriptedDoctor(context=20)).play(consultation())
    assert end_of(trajectory) == ("FILTERED", ["over_long"])
    assert len(trajectory.segments) == 2


async def test_a_set_limit_below_the_context_counts() -> None:
    limits = Limits(patient_turn_seconds=5, patience=Patience(seconds=0), max_sequence_tokens=20)
    assert end_of(await player(limits=limits).play(consultation())) == ("FILTERED", ["over_long"])


async def test_a_prompt_that_the_engine_finds_too_long_is_over_long() -> None:
    def refuse() -> None:
        raise InvalidArgument("prompt", "2050 tokens", "PROMPT_TOO_LONG")

    trajectory = await player(ScriptedDoctor(fails=refuse)).play(consultation())
    assert end_of(trajectory) == ("FILTERED", ["over_long"])


async def test_failures_are_told_apart() -> None:
    def fail() -> None:
        raise Unavailable("inference policy", "down")

    policy = await player(ScriptedDoctor(fails=fail)).play(consultation())
    assert end_of(policy) == ("POLICY_ERROR", ["policy_unavailable"])
    judge = await player(scorer=ScriptedScorer(error=InvalidArgument("case", "?"))).play(consultation())
    assert end_of(judge) == ("JUDGE_ERROR", ["judge_rejected"])
    limits = Limits(patient_turn_seconds=0.05, patience=Patience(seconds=0), max_sequence_tokens=0)
    simulator = await player(patient=ScriptedPatient(delay=1), limits=limits).play(consultation())
    assert end_of(simulator) == ("SIMULATOR_ERROR", ["patient_deadline_exceeded"])


async def test_a_void_score_is_a_judge_error_and_no_reward() -> None:
    trajectory = await player(scorer=ScriptedScorer(value=1.0, void=True)).play(consultation())
    assert end_of(trajectory) == ("JUDGE_ERROR", ["score_void"])
    assert trajectory.reward == 0 and list(trajectory.rewards) == []
    assert trajectory.score.void
