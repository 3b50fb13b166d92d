"""Who is let in when places are short."""

from __future__ import annotations

import pytest

from inference_svc.admission import RequestAdmission
from inference_svc.engine.requests import Rank
from service_kit.errors import ResourceExhausted


def test_a_consultation_goes_before_a_judge_and_a_judge_before_a_rollout() -> None:
    assert Rank.CONSULTATION < Rank.JUDGE < Rank.ROLLOUT


def test_places_are_given_back() -> None:
    admission = RequestAdmission(10)
    with admission.admitted(9, Rank.ROLLOUT):
        assert admission.unfinished == 9
    assert admission.unfinished == 0


def test_a_full_queue_refuses_with_a_time_to_come_again() -> None:
    admission = RequestAdmission(10)
    with admission.admitted(9, Rank.ROLLOUT), pytest.raises(ResourceExhausted) as refused:
        admission.admitted(1, Rank.ROLLOUT).__enter__()
    assert refused.value.reason == "ENGINE_QUEUE_FULL"
    assert refused.value.retry_after is not None
    assert admission.unfinished == 0


def test_rollouts_leave_places_for_judges_and_both_leave_places_for_users() -> None:
    admission = RequestAdmission(100)
    with admission.admitted(90, Rank.ROLLOUT):
        with pytest.raises(ResourceExhausted):
            admission.admitted(1, Rank.ROLLOUT).__enter__()
        with admission.admitted(5, Rank.JUDGE):
            with pytest.raises(ResourceExhausted):
                admission.admitted(1, Rank.JUDGE).__enter__()
            with admission.admitted(5, Rank.CONSULTATION):
                assert admission.unfinished == 100
