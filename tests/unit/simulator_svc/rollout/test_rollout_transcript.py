"""Segments joined in order are exactly what the policy saw and sampled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from anamnesis.common.v1.rollout_pb2 import PolicyVersion, VersionRun
from simulator_svc.rollout.transcript import DoctorTurn, InconsistentTurn, Transcript


def runs(*counts: int) -> list[VersionRun]:
    return [VersionRun(policy_version=PolicyVersion(step=step), token_count=n) for step, n in enumerate(counts)]


def turn(
    prompt: Sequence[int], sampled: Sequence[int], logprobs: Sequence[float] | None = None, counts: Sequence[int] = ()
) -> DoctorTurn:
    return DoctorTurn(
        text="",
        prompt_token_ids=prompt,
        token_ids=sampled,
        logprobs=[-0.5] * len(sampled) if logprobs is None else logprobs,
        version_runs=runs(*(counts or [len(sampled)])),
    )


def test_two_turns_join_to_the_sequence() -> None:
    transcript = Transcript()
    transcript.add(turn([1, 2, 3], [10, 11], counts=[1, 1]))
    transcript.add(turn([1, 2, 3, 10, 11, 4, 5], [12]))
    assert [list(s.token_ids) for s in transcript.segments] == [[1, 2, 3], [10, 11], [4, 5], [12]]
    assert [s.trainable for s in transcript.segments] == [False, True, False, True]
    assert [token for s in transcript.segments for token in s.token_ids] == transcript.token_ids
    assert [len(s.logprobs) for s in transcript.segments] == [0, 2, 0, 1]
    assert [run.token_count for run in transcript.segments[1].version_runs] == [1, 1]


@pytest.mark.parametrize(
    "second",
    [
        turn([1, 2, 9, 10, 11, 4], [12]),  # another past
        turn([1, 2, 3, 10], [12]),  # a shorter one
        turn([1, 2, 3, 10, 11], [12]),  # nothing new to answer
    ],
)
def test_a_prompt_that_does_not_continue_the_sequence_is_refused(second: DoctorTurn) -> None:
    transcript = Transcript()
    transcript.add(turn([1, 2, 3], [10, 11]))
    with pytest.raises(InconsistentTurn):
        transcript.add(second)
    assert len(transcript.segments) == 2


@pytest.mark.parametrize(
    "wrong", [turn([1], []), turn([1], [2, 3], logprobs=[-1.0]), turn([1], [2, 3], counts=[1]), turn([], [2])]
)
def test_a_turn_whose_parts_do_not_fit_is_refused(wrong: DoctorTurn) -> None:
    with pytest.raises(InconsistentTurn):
        Transcript().add(wrong)
