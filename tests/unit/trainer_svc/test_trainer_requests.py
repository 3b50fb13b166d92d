"""What a run asks for is a function of its seed, valid under the contract, and never a held-out case to train on."""

import protovalidate
import pytest

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from trainer_svc.config import resolve
from trainer_svc.flow.cases import CaseSplits
from trainer_svc.flow.fragments import fragments_of
from trainer_svc.flow.requests import CONTEXT, EVALUATE, TRAIN, Plan

CASES = CaseSplits(train=("t1", "t2", "t3"), held_out=("h1", "h2"))
VERSION = rollout_pb2.PolicyVersion(run_id="r", incarnation=1)


def said(*turns: str) -> list[dialogue_pb2.Message]:
    roles = (dialogue_pb2.ROLE_USER, dialogue_pb2.ROLE_ASSISTANT)
    return [dialogue_pb2.Message(role=roles[i % 2], content=turn) for i, turn in enumerate(turns)]


def consultation(plan: Plan) -> rollout_pb2.Trajectory:
    request = plan.request(plan.entries(CONTEXT, 0)[0], [], VERSION, 1e9)
    dialogue = dialogue_pb2.Dialogue(messages=said("It hurts.", "Where?", "Here.", "Since when?", "Monday."))
    return rollout_pb2.Trajectory(request=request, dialogue=dialogue)


@pytest.fixture
def plan() -> Plan:
    return Plan("r", 7, resolve("demo", {}), CASES)


def everything(plan: Plan) -> list[rollout_pb2.RolloutRequest]:
    fragments = fragments_of(consultation(plan))
    entries = [e for purpose, n in ((TRAIN, 9), (EVALUATE, 12), (CONTEXT, 7)) for g in range(n)
               for e in plan.entries(purpose, g)]  # fmt: skip
    return [plan.request(entry, fragments, VERSION, 1e9) for entry in entries]


def test_every_request_is_valid_and_the_same_when_asked_again(plan: Plan) -> None:
    requests = everything(plan)
    for request in requests:
        protovalidate.validate(request)
    assert requests == everything(plan)
    assert len({request.request_id for request in requests}) == len(requests)
    assert requests[0].request_id == "r/train/0/0"
    assert everything(Plan("r", 8, plan.config, CASES)) != requests


def test_only_evaluation_sees_held_out_cases(plan: Plan) -> None:
    for request in everything(plan):
        context = request.context
        kind = context.fragment if context.HasField("fragment") else context.consultation
        held_out = kind.case.case_id in CASES.held_out
        assert held_out == (request.purpose == rollout_pb2.PURPOSE_EVALUATE)


def test_samples_of_a_group_differ_in_index_seed_and_id_alone(plan: Plan) -> None:
    group = [request for request in everything(plan) if request.group_id == "r/train/3"]
    assert len(group) == 8 and len({request.seed for request in group}) == 8
    for request in group:
        request.ClearField("seed")
        request.ClearField("sample_index")
        request.ClearField("request_id")
    assert all(request == group[0] for request in group)


def test_after_training_the_same_patients_are_met_again(plan: Plan) -> None:
    count = plan.held_out_count
    assert count == 2 * plan.config.evaluation.personas
    seen = set()
    for index in range(count):
        before, after = (plan.request(plan.entries(EVALUATE, i)[0], [], VERSION, 1e9) for i in (index, index + count))
        assert (before.seed, before.context) == (after.seed, after.context)
        assert before.request_id != after.request_id
        seen.add((before.context.consultation.case.case_id, before.context.consultation.patient_seed))
    assert len(seen) == count


def test_a_consultation_is_cut_before_each_doctor_turn(plan: Plan) -> None:
    fragments = fragments_of(consultation(plan))
    assert [[m.content for m in f.so_far.messages] for f in fragments] == [
        ["It hurts."],
        ["It hurts.", "Where?", "Here."],
    ]
    assert {f.case.case_id for f in fragments} <= set(CASES.train)


def test_every_fragment_has_its_turn_before_one_comes_again(plan: Plan) -> None:
    fragments = [fragment for _ in range(3) for fragment in fragments_of(consultation(plan))]
    for index, fragment in enumerate(fragments):
        fragment.so_far.messages[0].content = str(index)
    asked = [
        plan.request(plan.entries(TRAIN, g)[0], fragments, VERSION, 1e9).context.fragment.so_far.messages[0].content
        for g in range(2 * len(fragments))
    ]
    assert sorted(asked[: len(fragments)]) == sorted(asked[len(fragments) :]) == [str(i) for i in range(len(fragments))]
