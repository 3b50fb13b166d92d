"""Protobuf to plain Python and back. What only a whole rubric or case can show wrong is refused here, by field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from anamnesis.common.v1 import dialogue_pb2, patient_pb2, rubric_pb2
from anamnesis.rubric.v1 import rubric_pb2 as pb
from rubric_svc.agreement import Agreement, Interval
from rubric_svc.case_store import CaseStore
from rubric_svc.generate.source import Knowledge, Scenario, Source
from rubric_svc.judge import verifiable
from rubric_svc.judge.matchers import WrongTerms
from rubric_svc.model import (
    MODEL,
    Case,
    Category,
    Check,
    Criterion,
    Dialogue,
    Dimension,
    Emotion,
    Fact,
    Level,
    Persona,
    Rubric,
    Score,
    Sex,
    Speaker,
    Turn,
)
from rubric_svc.rubric_agreement import RubricAgreement
from rubric_svc.rubric_score import Expert
from service_kit.errors import InvalidArgument

_SPEAKERS = {
    dialogue_pb2.ROLE_SYSTEM: Speaker.SYSTEM,
    dialogue_pb2.ROLE_USER: Speaker.PATIENT,
    dialogue_pb2.ROLE_ASSISTANT: Speaker.DOCTOR,
}


def dialogue_from_proto(dialogue: dialogue_pb2.Dialogue) -> Dialogue:
    return tuple(Turn(_SPEAKERS[message.role], message.content) for message in dialogue.messages)


def persona_from_proto(persona: patient_pb2.Persona) -> Persona:
    return Persona(
        emotional_state=Emotion(persona.emotional_state),
        health_literacy=Level(persona.health_literacy),
        education=Level(persona.education),
        means=Level(persona.means),
    )


def case_from_proto(reference: patient_pb2.CaseReference, store: CaseStore) -> Case:
    if reference.WhichOneof("reference") == "case_id":
        return store.get(reference.case_id)
    case = reference.inline
    facts = tuple(Fact(f.fact_id, Category(f.category), f.text, f.spoken, tuple(f.cues)) for f in case.facts)
    # 0 years is also what an age that nobody set reads as.
    return Case(case.case_id, facts, tuple(case.diagnosis_names), case.age_years or None, Sex(case.sex))


def source_from_proto(request: pb.GenerateRubricRequest, store: CaseStore) -> Source:
    if request.knowledge:
        return Knowledge(request.knowledge)
    return Scenario(request.scenario) if request.scenario else case_from_proto(request.case, store)


def judged_by(request: pb.ScoreDialogueRequest, store: CaseStore) -> Rubric | Case | Expert:
    match request.WhichOneof("source"):
        case "rubric":
            return rubric_from_proto(request.rubric)
        case "expert":
            return Expert(rubric_from_proto(request.expert, "expert"))
        case _:
            return case_from_proto(request.case, store)


def rubric_from_proto(rubric: rubric_pb2.Rubric, field: str = "rubric") -> Rubric:
    criteria = tuple(_criterion(c, f"{field}.criteria[{index}]") for index, c in enumerate(rubric.criteria))
    name, times = Counter(criterion.criterion_id for criterion in criteria).most_common(1)[0]
    if times > 1:
        raise InvalidArgument(f"{field}.criteria", f"{times} criteria have the id {name!r}", "DUPLICATE_CRITERION")
    return Rubric(rubric.rubric_id, criteria)


def _criterion(criterion: rubric_pb2.Criterion, field: str) -> Criterion:
    check = MODEL
    if criterion.check.WhichOneof("check") == "verifiable":
        check = Check(criterion.check.verifiable.matcher, tuple(criterion.check.verifiable.terms))
        try:
            verifiable.validate(check)
        except WrongTerms as wrong:
            raise InvalidArgument(f"{field}.check.verifiable", str(wrong), "WRONG_MATCHER") from wrong
    return Criterion(
        criterion.criterion_id,
        criterion.text,
        criterion.points,
        Dimension(criterion.dimension),
        tuple(criterion.tags),
        check,
    )


def rubric_to_proto(rubric: Rubric) -> rubric_pb2.Rubric:
    return rubric_pb2.Rubric(rubric_id=rubric.rubric_id, criteria=[_criterion_to_proto(c) for c in rubric.criteria])


def _criterion_to_proto(criterion: Criterion) -> rubric_pb2.Criterion:
    check = rubric_pb2.CriterionCheck(model=rubric_pb2.CriterionCheck.Model())
    if criterion.check.matcher:
        check = rubric_pb2.CriterionCheck(
            verifiable=rubric_pb2.CriterionCheck.Verifiable(
                matcher=criterion.check.matcher, terms=criterion.check.terms
            )
        )
    return rubric_pb2.Criterion(
        criterion_id=criterion.criterion_id,
        text=criterion.text,
        points=criterion.points,
        dimension=rubric_pb2.Dimension.ValueType(criterion.dimension),
        tags=criterion.tags,
        check=check,
    )


def score_to_proto(score: Score) -> rubric_pb2.Score:
    return rubric_pb2.Score(
        value=score.value,
        points_met=score.points_met,
        points_possible=score.points_possible,
        ungraded_share=score.ungraded_share,
        void=score.void,
        verdicts=[
            rubric_pb2.Verdict(
                criterion_id=verdict.criterion.criterion_id,
                outcome=rubric_pb2.VerdictOutcome.ValueType(verdict.outcome),
                probability=verdict.probability,
                explanation=verdict.explanation,
                dimension=rubric_pb2.Dimension.ValueType(verdict.criterion.dimension),
                points=verdict.criterion.points,
            )
            for verdict in score.verdicts
        ],
        dimensions=[
            rubric_pb2.DimensionScore(
                dimension=rubric_pb2.Dimension.ValueType(d.dimension), value=d.value, points_possible=d.points_possible
            )
            for d in score.dimensions
        ],
    )


def rubric_pairs_from_proto(pairs: Iterable[pb.RubricPair]) -> Iterator[tuple[pb.RubricPair, tuple[Rubric, Rubric]]]:
    for index, pair in enumerate(pairs):
        generated = rubric_from_proto(pair.generated, f"rubrics[{index}].generated")
        yield pair, (generated, rubric_from_proto(pair.expert, f"rubrics[{index}].expert"))


def rubric_agreement_to_proto(pair_id: str, measured: RubricAgreement) -> pb.RubricAgreement:
    return pb.RubricAgreement(
        pair_id=pair_id,
        agreement=measured.agreement,
        same_dimension=measured.same_dimension,
        same_intent=measured.same_intent,
        coverage=measured.coverage,
        reward=measured.reward,
        similarity=measured.measure,
    )


def agreement_to_proto(measured: Agreement) -> pb.Agreement:
    found = pb.Agreement(
        dimension=rubric_pb2.Dimension.ValueType(measured.dimension),
        count=measured.count,
        ungraded=measured.ungraded,
        percent_agreement=measured.percent_agreement,
        cohen_kappa=measured.cohen_kappa,
        macro_f1=measured.macro_f1,
    )
    if (intervals := measured.intervals) is not None:
        found.percent_interval.CopyFrom(_interval(intervals.percent_agreement))
        found.kappa_interval.CopyFrom(_interval(intervals.cohen_kappa))
        found.macro_f1_interval.CopyFrom(_interval(intervals.macro_f1))
    return found


def _interval(interval: Interval) -> pb.AgreementInterval:
    return pb.AgreementInterval(low=interval.low, high=interval.high)
