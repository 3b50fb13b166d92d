"""The study's times to a held-out reward: measured on the run's own events, the waits for measurements told apart."""

from anamnesis.trainer.v1 import trainer_pb2
from tests.benchmarks.study import HeldOut
from tests.benchmarks.study_learning import Clock


def test_time_goes_from_the_first_step_to_the_weights_that_are_measured_and_knows_the_waits_between() -> None:
    clock = Clock()
    found = []
    for at, phase in (
        (5.0, "evaluating_before"),
        (10.0, "training"),
        (30.0, "training"),
        (40.0, "evaluating"),
        (47.0, "evaluating"),
        (50.0, "training"),
        (90.0, "evaluating_after"),
    ):
        clock.phase(phase, at)
        if at in (47.0, 90.0):
            found.append(clock.measured(trainer_pb2.HeldOutReward(step=int(at), mean=0.25, count=2)))
    assert found == [HeldOut(47, 0.25, 30.0, 0.0), HeldOut(90, 0.25, 80.0, 10.0)]
    assert [one.trained for one in found] == [30.0, 70.0]
