"""RubricService over gRPC: what it answers, what it refuses, and what it does when the frozen model is away."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from anamnesis.common.v1 import dialogue_pb2, patient_pb2, rubric_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.rubric.v1 import rubric_pb2 as pb
from anamnesis.rubric.v1 import rubric_pb2_grpc
from rubric_svc.__main__ import wire
from rubric_svc.inference import FrozenModel
from rubric_svc.server import register
from rubric_svc.settings import RubricSettings
from service_kit.grpc.channel import open_channel
from service_kit.grpc.server import GrpcServer

CASES = Path(__file__).parents[3] / "simulator_svc" / "cases" / "data"
NOWHERE = "127.0.0.1:1"
CASE = patient_pb2.PatientCase(
    case_id="headache",
    facts=[
        patient_pb2.Fact(fact_id=name, category=category, text=text, disclosure=patient_pb2.DISCLOSURE_ON_REQUEST)
        for name, category, text in (
            ("onset", patient_pb2.FACT_CATEGORY_ONSET, "Yesterday."),
            ("site", patient_pb2.FACT_CATEGORY_SITE, "Left."),
        )
    ],
    diagnosis_names=["migraine"],
)
INLINE = patient_pb2.CaseReference(inline=CASE)


class Frozen(inference_pb2_grpc.InferenceServiceServicer):
    """Says Yes with the probability set, or fails each item."""

    def __init__(self) -> None:
        self.yes = 0.9
        self.reason = ""
        self.requests: list[inference_pb2.ChooseRequest] = []

    async def Choose(self, request: inference_pb2.ChooseRequest, context: Any) -> inference_pb2.ChooseResponse:
        self.requests.append(request)
        return inference_pb2.ChooseResponse(results=[self._result(item) for item in request.items])

    def _result(self, item: inference_pb2.ChooseItem) -> inference_pb2.ChooseResult:
        if self.reason:
            return inference_pb2.ChooseResult(error_reason=self.reason, error_message="x")
        shares = [self.yes, 1 - self.yes] if len(item.choices) == 2 else [1.0]
        return inference_pb2.ChooseResult(
            scores=[
                inference_pb2.ChoiceScore(choice=choice, probability=share, logprob=-4.0, token_count=2)
                for choice, share in zip(item.choices, shares, strict=True)
            ]
        )

    async def Embed(self, request: inference_pb2.EmbedRequest, context: Any) -> inference_pb2.EmbedResponse:
        """By which words a text has."""
        return inference_pb2.EmbedResponse(embeddings=[_by_words(text) for text in request.texts])


def _by_words(text: str) -> inference_pb2.Embedding:
    places = {zlib.crc32(word.encode()) % 1024 for word in text.lower().rstrip(".").split()}
    return inference_pb2.Embedding(values=[(place in places) / math.sqrt(len(places)) for place in range(1024)])


@asynccontextmanager
async def _rubric(target: str, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    own = RubricSettings(grpc_port=0, inference_frozen_target=target, judge_seconds=3.0, **settings)
    frozen = FrozenModel(target)
    server = GrpcServer(own, "rubric", lambda grpc_server: register(grpc_server, *wire(own, frozen, frozen)))
    port = await server.start()
    await server.ready()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.drain(1.0)
        await frozen.close()


@pytest.fixture
async def frozen() -> AsyncIterator[tuple[Frozen, str]]:
    server = grpc.aio.server()
    servicer = Frozen()  # type: ignore[abstract]  # the generated base answers UNIMPLEMENTED
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def stub(frozen: tuple[Frozen, str]) -> AsyncIterator[Any]:
    async with _rubric(frozen[1], case_store=CASES) as channel:
        yield rubric_pb2_grpc.RubricServiceStub(channel)


@pytest.fixture
async def alone() -> AsyncIterator[Any]:
    """No frozen model, no case store."""
    async with _rubric(NOWHERE) as channel:
        yield rubric_pb2_grpc.RubricServiceStub(channel)


def talk(*texts: str) -> dialogue_pb2.Dialogue:
    roles = (dialogue_pb2.ROLE_USER, dialogue_pb2.ROLE_ASSISTANT)
    return dialogue_pb2.Dialogue(
        messages=[dialogue_pb2.Message(role=roles[index % 2], content=text) for index, text in enumerate(texts)]
    )


def scored(**fields: Any) -> pb.ScoreDialogueRequest:
    request = {"dialogue": talk("My head hurts.", "I'm sorry. When did it start?"), "scope": pb.SCOPE_LAST_DOCTOR_TURN}
    if "rubric" not in fields:
        request["case"] = INLINE
    return pb.ScoreDialogueRequest(**{**request, **fields})


def matched(matcher: str, *terms: str, points: int = 4, name: str = "c") -> rubric_pb2.Criterion:
    check = rubric_pb2.CriterionCheck.Verifiable(matcher=matcher, terms=terms)
    return rubric_pb2.Criterion(
        criterion_id=name, text="x", points=points, check=rubric_pb2.CriterionCheck(verifiable=check)
    )


async def refused(call: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(cast(grpc.Call, caught.value))
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    return caught.value.code(), info.reason, [violation.field for violation in bad.field_violations]


async def test_a_rubric_for_a_case_of_the_store_and_for_one_inline(stub: Any) -> None:
    for case in (patient_pb2.CaseReference(case_id="inferior-stemi"), INLINE):
        request = pb.GenerateRubricRequest(case=case, scope=pb.SCOPE_WHOLE_DIALOGUE, seed=3)
        rubric = (await stub.GenerateRubric(request, timeout=10)).rubric
        assert rubric == (await stub.GenerateRubric(request, timeout=10)).rubric
        assert all(criterion.check.WhichOneof("check") for criterion in rubric.criteria)


async def test_a_generated_rubric_can_be_sent_back_to_be_judged_by(stub: Any) -> None:
    so_far = talk("My head hurts.")
    request = pb.GenerateRubricRequest(case=INLINE, so_far=so_far, scope=pb.SCOPE_LAST_DOCTOR_TURN)
    rubric = (await stub.GenerateRubric(request, timeout=10)).rubric
    by_rubric = await stub.ScoreDialogue(scored(rubric=rubric), timeout=10)
    by_case = await stub.ScoreDialogue(scored(), timeout=10)
    assert by_rubric.score == by_case.score and by_case.rubric == rubric


async def test_a_score_has_a_verdict_for_each_criterion_and_adds_up(stub: Any) -> None:
    response = await stub.ScoreDialogue(scored(measure_coherence=True), timeout=10)
    assert [v.criterion_id for v in response.score.verdicts] == [c.criterion_id for c in response.rubric.criteria]
    met = sum(v.points for v in response.score.verdicts if v.outcome == rubric_pb2.VERDICT_OUTCOME_MET)
    possible = sum(v.points for v in response.score.verdicts if v.points > 0)
    assert response.score.value == pytest.approx(met / possible)
    assert not response.score.void
    assert response.coherence == pytest.approx(math.exp(-2.0))


async def test_the_judge_asks_once_with_its_priority(stub: Any, frozen: tuple[Frozen, str]) -> None:
    await stub.ScoreDialogue(scored(scope=pb.SCOPE_WHOLE_DIALOGUE), timeout=10)
    (request,) = frozen[0].requests
    assert request.priority == inference_pb2.PRIORITY_JUDGE
    assert len(request.items) == 2


async def test_a_dead_model_leaves_its_criteria_ungraded_and_the_others_graded(alone: Any) -> None:
    response = await alone.ScoreDialogue(scored(measure_coherence=True), timeout=10)
    outcomes = {v.outcome for v in response.score.verdicts}
    assert rubric_pb2.VERDICT_OUTCOME_UNGRADED in outcomes and rubric_pb2.VERDICT_OUTCOME_MET in outcomes
    assert not response.score.void and 0 < response.score.ungraded_share <= 0.3
    assert not response.HasField("coherence")
    (reason,) = {v.explanation for v in response.score.verdicts if v.outcome == rubric_pb2.VERDICT_OUTCOME_UNGRADED}
    assert reason == "ungraded: DEPENDENCY_UNAVAILABLE"


async def test_a_second_opinion_is_given_when_asked_and_changes_no_score(frozen: tuple[Frozen, str], stub: Any) -> None:
    rubric = rubric_pb2.Rubric(
        criteria=[
            matched("ends_with_question", name="asks", points=6),
            matched("longer_than", "n=40", name="long", points=3),
            rubric_pb2.Criterion(criterion_id="kind", text="The doctor is kind.", points=2),
        ]
    )
    plain = await stub.ScoreDialogue(scored(rubric=rubric), timeout=10)
    assert not plain.HasField("disagreement")
    frozen[0].requests.clear()
    # The frozen model says Yes to everything: it agrees that the doctor asks, and not that the reply is short.
    opinion = await stub.ScoreDialogue(scored(rubric=rubric, second_opinion=True), timeout=10)
    assert opinion.score == plain.score
    assert opinion.disagreement == pytest.approx(3 / 9)
    assert [len(request.items) for request in frozen[0].requests] == [1, 2]


async def test_a_score_that_misses_too_much_is_void(alone: Any) -> None:
    model = rubric_pb2.Criterion(criterion_id="m", text="The doctor is kind.", points=5)
    rubric = rubric_pb2.Rubric(criteria=[matched("ends_with_question"), model])
    response = await alone.ScoreDialogue(scored(rubric=rubric), timeout=10)
    assert response.score.void and response.score.ungraded_share == pytest.approx(5 / 9)


async def test_a_model_that_refuses_an_item_leaves_it_ungraded(stub: Any, frozen: tuple[Frozen, str]) -> None:
    frozen[0].reason = "PROMPT_TOO_LONG"
    response = await stub.ScoreDialogue(scored(), timeout=10)
    ungraded = [v for v in response.score.verdicts if v.outcome == rubric_pb2.VERDICT_OUTCOME_UNGRADED]
    assert [v.explanation for v in ungraded] == ["ungraded: PROMPT_TOO_LONG"]


async def test_scores_are_streamed_and_a_bad_one_fails_alone(stub: Any) -> None:
    requests = [scored(seed=index) for index in range(40)]
    requests[7] = scored(dialogue=talk("Only the patient spoke."))
    requests[8] = scored(case=patient_pb2.CaseReference(case_id="no-such-case"))
    answers = [a async for a in stub.ScoreDialogues(pb.ScoreDialoguesRequest(requests=requests), timeout=60)]
    assert sorted(answer.index for answer in answers) == list(range(40))
    failed = {answer.index: answer.error_reason for answer in answers if answer.error_reason}
    assert failed == {7: "NO_DOCTOR_TURN", 8: "CASE_NOT_FOUND"}
    assert all(answer.HasField("response") for answer in answers if not answer.error_reason)


async def test_an_unknown_case_is_not_found_and_without_a_store_the_precondition_is_named(
    stub: Any, alone: Any
) -> None:
    request = pb.GenerateRubricRequest(
        case=patient_pb2.CaseReference(case_id="no-such-case"), scope=pb.SCOPE_WHOLE_DIALOGUE
    )
    assert (await refused(stub.GenerateRubric(request, timeout=10)))[:2] == (
        grpc.StatusCode.NOT_FOUND,
        "CASE_NOT_FOUND",
    )
    assert (await refused(alone.GenerateRubric(request, timeout=10)))[:2] == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CASE_STORE_UNSET",
    )


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (scored(dialogue=talk("Hello.")), "NO_DOCTOR_TURN", "dialogue"),
        (
            scored(rubric=rubric_pb2.Rubric(criteria=[matched("telepathy")])),
            "WRONG_MATCHER",
            "rubric.criteria[0].check.verifiable",
        ),
        (
            scored(rubric=rubric_pb2.Rubric(criteria=[matched("asked_about", "@nothing")])),
            "WRONG_MATCHER",
            "rubric.criteria[0].check.verifiable",
        ),
        (
            scored(rubric=rubric_pb2.Rubric(criteria=[matched("empathy"), matched("empathy")])),
            "DUPLICATE_CRITERION",
            "rubric.criteria",
        ),
        (scored(rubric=rubric_pb2.Rubric(criteria=[matched("empathy", points=11)])), None, "rubric.criteria[0].points"),
        (scored(scope=pb.SCOPE_UNSPECIFIED), None, "scope"),
        (pb.ScoreDialogueRequest(dialogue=talk("a", "b"), scope=pb.SCOPE_WHOLE_DIALOGUE), None, "source"),
    ],
)
async def test_a_wrong_request_is_refused_by_its_field(
    alone: Any, request_: pb.ScoreDialogueRequest, reason: str | None, field: str
) -> None:
    code, given, fields = await refused(alone.ScoreDialogue(request_, timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in fields
    assert reason is None or given == reason


async def test_agreement_by_dimension_and_an_unspecified_label_refused(alone: Any) -> None:
    met, missed = rubric_pb2.VERDICT_OUTCOME_MET, rubric_pb2.VERDICT_OUTCOME_NOT_MET
    verdicts = [
        pb.LabelledVerdict(label_id="1", predicted=met, label=met, dimension=rubric_pb2.DIMENSION_TREATMENT),
        pb.LabelledVerdict(label_id="2", predicted=met, label=missed, dimension=rubric_pb2.DIMENSION_COMMUNICATION),
    ]
    measured = await alone.MeasureAgreement(pb.MeasureAgreementRequest(verdicts=verdicts), timeout=10)
    assert (measured.overall.count, measured.overall.percent_agreement) == (2, 50.0)
    assert [part.percent_agreement for part in measured.dimensions] == [100.0, 0.0]
    wrong = pb.MeasureAgreementRequest(verdicts=[pb.LabelledVerdict(label_id="1", predicted=met)])
    code, _, fields = await refused(alone.MeasureAgreement(wrong, timeout=10))
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["verdicts[0].label"])


EXPERT = rubric_pb2.Rubric(
    criteria=[
        rubric_pb2.Criterion(criterion_id=f"e{n}", text=text, points=points, dimension=dimension)
        for n, (text, points, dimension) in enumerate(
            (
                ("Asks when the headache began.", 4, rubric_pb2.DIMENSION_CONSULTATION_LOGIC),
                ("Asks whether light hurts the eyes.", 3, rubric_pb2.DIMENSION_DIAGNOSTIC_ACCURACY),
                ("Promises a cure.", -5, rubric_pb2.DIMENSION_ETHICS_AND_SAFETY),
            )
        )
    ]
)
ROWS = [
    {"text": "Asks when the headache first began.", "dimension": "consultation_logic", "fault": False, "importance": 2},
    {"text": "Asks whether light hurts the eyes.", "dimension": "evidence", "fault": False, "importance": 9},
    {"text": "Promises a cure.", "dimension": "ethics_and_safety", "fault": True, "importance": 5},
]
POOR = [
    {"text": "Smiles at the dog.", "dimension": "clarity", "fault": False, "importance": 1},
    {"text": "Promises a cure.", "dimension": "treatment", "fault": False, "importance": 5},
    {"text": "Asks when the headache began.", "dimension": "treatment", "fault": False, "importance": 5},
]


def written(*rows: dict[str, Any]) -> pb.ScoreDialogueRequest:
    text = json.dumps({"criteria": rows}) if rows else "1. Asks when the headache began."
    return pb.ScoreDialogueRequest(
        dialogue=talk("Write criteria.", text), expert=EXPERT, scope=pb.SCOPE_LAST_DOCTOR_TURN
    )


async def test_a_written_rubric_is_rewarded_for_the_intents_of_the_experts(stub: Any) -> None:
    whole, poor, prose = [(await stub.ScoreDialogue(written(*rows), timeout=10)).score for rows in (ROWS, POOR, [])]
    assert (whole.value, poor.value, prose.value) == pytest.approx((1.0, 1 / 3, 0.0))
    assert not (whole.void or poor.void or prose.void)
    assert [v.outcome for v in poor.verdicts] == [
        rubric_pb2.VERDICT_OUTCOME_MET,
        rubric_pb2.VERDICT_OUTCOME_NOT_MET,
        rubric_pb2.VERDICT_OUTCOME_NOT_MET,
    ]
    assert {v.explanation for v in prose.verdicts} == {"UNPARSEABLE"}


async def test_a_written_rubric_is_not_rewarded_by_words_alone(alone: Any) -> None:
    score = (await alone.ScoreDialogue(written(*ROWS), timeout=10)).score
    assert score.void and score.ungraded_share == 1
