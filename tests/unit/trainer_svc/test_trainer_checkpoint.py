"""A checkpoint is whole or it is not used."""

from pathlib import Path

import pytest
import torch

from trainer_svc.learner.checkpoint import MANIFEST, STATE, TENSORS, Checkpoints


def test_the_newest_comes_back_and_old_ones_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.newest() is None
    for step in range(4):
        checkpoints.write({"w": torch.full((3,), float(step))}, {"step": step})
    found = checkpoints.newest()
    assert found is not None
    assert (found.number, found.state, found.tensors["w"].tolist()) == (4, {"step": 3}, [3.0, 3.0, 3.0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000003", "00000004"]


@pytest.mark.parametrize("torn", [TENSORS, STATE, MANIFEST])
@pytest.mark.parametrize("how", ["cut", "gone", "flipped"])
def test_a_torn_checkpoint_is_refused_and_the_one_before_is_used(tmp_path: Path, torn: str, how: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.write({"w": torch.zeros(3)}, {"step": 1})
    file = checkpoints.write({"w": torch.ones(3)}, {"step": 2}) / torn
    content = file.read_bytes()
    match how:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "gone":
            file.unlink()
        case "flipped":
            file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    found = checkpoints.newest()
    assert found is not None and found.state == {"step": 1}
    assert checkpoints.next_number() == 3


def test_a_half_written_directory_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    (tmp_path / ".00000001.tmp").mkdir()
    assert checkpoints.newest() is None
    assert checkpoints.write({"w": torch.ones(1)}, {}).name == "00000001"


def test_the_best_by_held_out_reward_stays_beside_the_last(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.best() is None
    for step, held_out in enumerate([0.2, 0.7, None, 0.4, None, None]):
        checkpoints.write({"w": torch.full((1,), float(step))}, {"step": step}, held_out)
    best, newest = checkpoints.best(), checkpoints.newest()
    assert best is not None and best.state == {"step": 1}
    assert newest is not None and newest.state == {"step": 5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000005", "00000006"]
    checkpoints.write({"w": torch.zeros(1)}, {"step": 6}, 0.7)
    equal = checkpoints.best()
    assert equal is not None and equal.state == {"step": 6}, "the newest of equals"


def test_a_torn_best_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    path = checkpoints.write({"w": torch.zeros(3)}, {"step": 1}, 0.9)
    (path / TENSORS).write_bytes(b"")
    assert checkpoints.best() is None
