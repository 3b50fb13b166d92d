"""Which trajectories reach the objective, which are dropped and why, and in which order groups are taken."""

import random
from collections import Counter

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from trainer_svc.flow.admission import capacity
from trainer_svc.flow.groups import Groups, judge
from trainer_svc.records.ledger import DROPPED, TRAINED

RUN = "r"


def trajectory(request_id: str, reward: float, *, step: int = 0, run_id: str = RUN) -> rollout_pb2.Trajectory:
    version = rollout_pb2.PolicyVersion(run_id=run_id, incarnation=1, step=step)
    return rollout_pb2.Trajectory(
        request=rollout_pb2.RolloutRequest(request_id=request_id),
        segments=[
            rollout_pb2.Segment(role=dialogue_pb2.ROLE_USER, token_ids=[1, 2]),
            rollout_pb2.Segment(
                role=dialogue_pb2.ROLE_ASSISTANT,
                token_ids=[3, 4],
                logprobs=[-1.0, -2.0],
                trainable=True,
                version_runs=[rollout_pb2.VersionRun(policy_version=version, token_count=2)],
            ),
        ],
        reward=reward,
        terminal_state=rollout_pb2.TERMINAL_STATE_COMPLETED,
    )


def judged(*records: rollout_pb2.Trajectory, version: int = 0, missing: int = 0) -> dict[str, str]:
    received = {record.request.request_id: record for record in records}
    ids = [*received, *(f"missing{i}" for i in range(missing))]
    result = judge(0, ids, received, RUN, version, staleness=1)
    assert [outcome.request_id for outcome in result.outcomes] == ids
    assert len(result.members) == sum(outcome.outcome == TRAINED for outcome in result.outcomes)
    return {o.request_id: o.reason if o.outcome == DROPPED else o.outcome for o in result.outcomes}


def test_completed_trajectories_with_spread_are_trained() -> None:
    assert judged(trajectory("a", 0.0), trajectory("b", 1.0)) == {"a": TRAINED, "b": TRAINED}


def test_what_did_not_complete_is_dropped_by_the_workers_reason_and_the_others_train() -> None:
    filtered = trajectory("c", 9.0)
    filtered.terminal_state = rollout_pb2.TERMINAL_STATE_FILTERED
    filtered.reasons.append("role_inversion")
    error = trajectory("d", 9.0)
    error.terminal_state = rollout_pb2.TERMINAL_STATE_JUDGE_ERROR
    assert judged(trajectory("a", 0.0), trajectory("b", 1.0), filtered, error, missing=1) == {
        "a": TRAINED, "b": TRAINED, "c": "filtered:role_inversion", "d": "judge_error", "missing0": "timeout"
    }  # fmt: skip


def test_a_group_that_teaches_nothing_is_dropped() -> None:
    assert judged(trajectory("a", 0.5), trajectory("b", 0.5)) == {"a": "no_spread", "b": "no_spread"}
    assert judged(trajectory("a", 0.5), missing=1) == {"a": "group_too_small", "missing0": "timeout"}


def test_stale_and_foreign_tokens_are_not_trained_on() -> None:
    records = [trajectory("a", 0, step=3), trajectory("b", 1, step=4), trajectory("c", 2, step=5)]
    foreign = trajectory("d", 3, step=5, run_id="other")
    assert judged(*records, foreign, version=5) == {"a": "stale", "b": TRAINED, "c": TRAINED, "d": "stale"}


def test_tokens_of_one_trajectory_are_filtered_one_by_one() -> None:
    mixed = trajectory("a", 0.0)
    del mixed.segments[1].version_runs[:]
    for step in (3, 5):
        version = rollout_pb2.PolicyVersion(run_id=RUN, step=step)
        mixed.segments[1].version_runs.add(policy_version=version, token_count=1)
    result = judge(0, ["a", "b"], {"a": mixed, "b": trajectory("b", 1.0, step=5)}, RUN, version=5, staleness=1)
    assert [(m.trained, m.logprobs, m.age) for m in result.members] == [([3], [-2.0], 0.0), ([2, 3], [-1.0, -2.0], 0.0)]


def test_a_version_of_a_lost_incarnation_is_ahead_and_not_stale() -> None:
    assert judged(trajectory("a", 0, step=6), trajectory("b", 1, step=5), version=5) == {"a": TRAINED, "b": TRAINED}


def test_malformed_trajectories_are_dropped() -> None:
    short = trajectory("a", 0.0)
    short.segments[1].logprobs.pop()
    nameless = trajectory("b", 0.0)
    nameless.segments[1].version_runs[0].token_count = 1
    silent = trajectory("c", 0.0)
    silent.segments[1].trainable = False
    assert set(judged(short, nameless, silent).values()) == {"malformed"}


def test_groups_are_taken_in_order_whatever_order_they_arrive_in() -> None:
    groups = Groups()
    for index in range(2):
        groups.expect(index, [f"{index}/0", f"{index}/1"], now=0.0)
    groups.add(1, trajectory("1/0", 0.0))
    groups.add(1, trajectory("1/1", 1.0))
    assert (groups.running(), groups.worth_waiting_for(RUN, 0, 1)) == (1, 1)
    assert groups.judge_next(RUN, 0, 1) is None
    groups.add(0, trajectory("0/0", 0.0))
    assert groups.time_out(now=10.0, limit=20.0) == 0
    assert groups.time_out(now=30.0, limit=20.0) == 1
    order = [groups.judge_next(RUN, 0, 1), groups.judge_next(RUN, 0, 1)]
    assert [(group.index, len(group.members)) for group in order if group] == [(0, 0), (1, 2)]
    assert groups.judge_next(RUN, 0, 1) is None


def test_a_waiting_group_is_judged_anew_for_each_version_and_after_each_arrival() -> None:
    groups = Groups()
    groups.expect(0, ["a", "b", "c"], now=0.0)
    groups.add(0, trajectory("a", 0.0, step=3))
    groups.add(0, trajectory("b", 1.0, step=3))
    groups.time_out(now=30.0, limit=20.0)
    assert [groups.worth_waiting_for(RUN, version, staleness=1) for version in (3, 4, 4, 5, 4)] == [1, 1, 1, 0, 1]
    groups.add(0, trajectory("c", 2.0, step=3))  # late, and still of use
    taken = groups.judge_next(RUN, 4, 1)
    assert taken is not None and [o.outcome for o in taken.outcomes] == [TRAINED] * 3


def test_slow_patients_are_trained_on_as_often_as_they_are_played() -> None:
    """Episodes of 10 to 200 seconds in random arrival order under admission: the lengths trained are those played."""
    source = random.Random(3)
    batch, size, staleness, steps, at_once = 2, 4, 2, 150, 24
    groups, clock, step, next_group = Groups(), 0.0, 0, 0
    arriving: list[tuple[float, int, int, str, float]] = []
    played: dict[str, float] = {}
    trained: list[float] = []
    taken = 0
    while step < steps:
        free = capacity(
            max_concurrent=at_once,
            running=groups.running() * size,
            staleness=staleness,
            version=step,
            batch=batch * size,
            accepted=(step * batch + taken + groups.worth_waiting_for(RUN, step, staleness)) * size,
            steps=steps,
        )
        for _ in range(free // size):
            ids = [f"{next_group}/{sample}" for sample in range(size)]
            groups.expect(next_group, ids, clock)
            for request_id in ids:
                played[request_id] = source.choice([10.0, 20.0, 200.0])
                arriving.append((clock + played[request_id], next_group, step, request_id, source.random()))
            next_group += 1
        if (found := groups.judge_next(RUN, step, staleness)) is not None:
            assert [outcome.reason for outcome in found.outcomes] == [""] * size, "none too late, none too stale"
            trained += [played[outcome.request_id] for outcome in found.outcomes]
            taken += 1
            if taken == batch:
                step, taken = step + 1, 0
            continue
        clock, index, sampled_at, request_id, reward = min(arriving)
        arriving.remove((clock, index, sampled_at, request_id, reward))
        groups.add(index, trajectory(request_id, reward, step=sampled_at))
        groups.time_out(clock, limit=600.0)
    assert Counter(trained) == Counter(list(played.values())[: len(trained)]), "in the order they were asked for"
    assert 0.28 < Counter(trained)[200.0] / len(trained) < 0.39
