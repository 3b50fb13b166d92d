"""Who is let in when places are short."""

from __future__ import annotations

import pytest

from inference_svc.admission import RequestAdmission
from inference_svc.engine.requests import Rank, order
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


def test_a_user_overtakes_rollouts_but_one_that_has_waited_long_enough_is_not_overtaken() -> None:
    rollout = order(Rank.ROLLOUT, 100.0, ageing_seconds=30.0)
    assert order(Rank.CONSULTATION, 159.0, 30.0) < rollout < order(Rank.CONSULTATION, 161.0, 30.0)
    assert order(Rank.JUDGE, 129.0, 30.0) < rollout < order(Rank.JUDGE, 131.0, 30.0)


def test_under_endless_consultations_every_rollout_still_has_its_turn() -> None:
    waiting = [(order(Rank.ROLLOUT, 0.0, 5.0), "rollout")]
    for second in range(100):
        waiting += [(order(Rank.CONSULTATION, second, 5.0), "user")] * 2
        waiting.sort()
        if waiting.pop(0)[1] == "rollout":
            break
    assert second <= 30, "twice as many users as there are places starve nobody"
