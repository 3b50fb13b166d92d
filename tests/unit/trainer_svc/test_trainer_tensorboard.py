"""What people open with TensorBoard is what the run measured."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from trainer_svc.figures.heldout import Measured
from trainer_svc.tracking.tensorboard import TensorBoard


def read(directory: Path) -> dict[tuple[str, int], float]:
    """The scalars of all event files: each record is a length, its checksum, an Event and the checksum of that."""
    found: dict[tuple[str, int], float] = {}
    for path in sorted(directory.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            found.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
    return found


def test_every_figure_of_a_step_has_its_curve_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    figures = {
        "step": 1,
        "reward_mean": 0.25,
        "reward_components": {"rubric": 0.5},
        "seconds_by_phase": {"rollout": 3.0},
        "extra": {"masked_fraction": 0.125, "dropped:no_spread": 4.0},
    }
    for step in (1, 2):  # as two processes write them
        with TensorBoard(tmp_path, incarnation=step) as tracker:
            tracker.step({**figures, "step": step})
            if step == 2:
                measured = {0: Measured(0.5, 0.1, {"coherence": 0.1}), 1: Measured(1.0, 0.3, {"coherence": 0.3})}
                tracker.held_out(2, measured)
    found = read(tmp_path)
    of_a_step = {
        "train/reward_mean": 0.25,
        "reward/rubric": 0.5,
        "seconds/rollout": 3.0,
        "train/masked_fraction": 0.125,
        "train/dropped/no_spread": 4.0,
    }
    held_out = {("held_out/reward", 2): 0.75, ("held_out/coherence", 2): 0.2}
    wanted = {(name, step): value for step in (1, 2) for name, value in of_a_step.items()} | held_out
    assert found == pytest.approx(wanted)
