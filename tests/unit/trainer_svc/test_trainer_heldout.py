"""The paired comparison, and a journal that survives JSON."""

import json
import math

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from trainer_svc.figures.heldout import Measured, compare
from trainer_svc.flow.inbox import Bookmark
from trainer_svc.records.journal import Journal, Measurement


def side(*rewards: float) -> dict[int, Measured]:
    return {i: Measured(reward, 0.5, {"rubric": reward}) for i, reward in enumerate(rewards)}


def test_standard_error_is_that_of_the_paired_difference() -> None:
    result = compare(side(0.0, 1.0, 2.0), side(0.5, 1.5, 3.5))
    assert result is not None
    assert math.isclose(result.mean_after - result.mean_before, 2.5 / 3)
    assert math.isclose(result.diff_standard_error, math.sqrt(1 / 3 / 3))
    assert (result.count, result.untrained_before, result.untrained_after) == (3, 0.5, 0.5)


def test_only_pairs_count() -> None:
    after = side(1.0, 1.0)
    del after[0]
    result = compare(side(0.0, 0.5), after)
    assert result is not None
    assert (result.count, result.mean_before, result.diff_standard_error) == (1, 0.5, 0.0)
    assert compare(side(1.0), {}) is None


def test_a_journal_is_the_same_after_json() -> None:
    dialogue = dialogue_pb2.Dialogue(messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="Où ça ?")])
    journal = Journal(
        Bookmark({0: 3, 1: 9}, [(0, 4), (1, 9)]),
        step=2,
        next_group=7,
        before=Measurement(True, side(0.1, 1 / 3), {0: dialogue}),
        context_finished=True,
        fragments=[rollout_pb2.FragmentContext(so_far=dialogue)],
        history=[{"step": 1, "loss": 1e-17}],
        traced_episodes=5,
    )
    assert Journal.from_json(json.loads(json.dumps(journal.to_json()))) == journal
