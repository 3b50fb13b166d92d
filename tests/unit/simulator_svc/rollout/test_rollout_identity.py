"""Identity and seeds are functions of the request alone."""

from __future__ import annotations

from anamnesis.common.v1.patient_pb2 import CaseReference
from anamnesis.common.v1.rollout_pb2 import ConsultationContext, RolloutContext
from simulator_svc.rollout.identity import doctor_turn_seed, gets_second_opinion, rubric_seed, trajectory_id


def context(seed: int) -> RolloutContext:
    case = CaseReference(case_id="a")
    return RolloutContext(consultation=ConsultationContext(case=case, patient_seed=seed, max_doctor_turns=3))


def test_a_replayed_request_is_the_same_trajectory() -> None:
    assert trajectory_id("run-1/g3/0") == trajectory_id("run-1/g3/0") == "trj-06fa00080db9a63dece1ad69135f0c39"


def test_different_requests_are_different_trajectories() -> None:
    assert len({trajectory_id(f"r{i}") for i in range(1000)}) == 1000


def test_each_turn_and_each_sample_has_its_own_seed() -> None:
    seeds = {doctor_turn_seed(request_seed, turn) for request_seed in range(30) for turn in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_largest_request_seed_serves() -> None:
    assert 0 <= doctor_turn_seed(2**64 - 1, 0) < 2**63


def test_the_samples_of_a_group_share_the_rubrics_seed_and_other_contexts_do_not() -> None:
    assert rubric_seed(context(1)) == rubric_seed(context(1))
    assert rubric_seed(context(1)) != rubric_seed(context(2))


def test_second_opinions_are_a_share_of_the_requests_and_the_same_ones_when_replayed() -> None:
    chosen = [i for i in range(4000) if gets_second_opinion(f"run-1/train/{i}/0", 0.1)]
    assert chosen == [i for i in range(4000) if gets_second_opinion(f"run-1/train/{i}/0", 0.1)]
    assert 320 < len(chosen) < 480
    assert not any(gets_second_opinion(f"r{i}", 0.0) for i in range(100))
    assert all(gets_second_opinion(f"r{i}", 1.0) for i in range(100))
