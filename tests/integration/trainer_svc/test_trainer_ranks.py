"""Two processes learn what one does, whether each has the whole model or half of it."""

from pathlib import Path

import pytest

from tests.tiny_llama import save_tiny_model
from tests.training_ranks import Played, play_steps

STEPS = 4
SECONDS = 240.0
# Three groups in more passes than one, so that the ranks' shares differ.
OVERRIDES = {"schedule.groups_per_step": "3", "optimizer.pack_tokens": "1000", "optimizer.learning_rate": "0.01"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def alone(model: Path) -> Played:
    return play_steps(1, "ddp", model, STEPS, SECONDS, OVERRIDES)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_two_processes_have_the_losses_and_weights_of_one(sharding: str, model: Path, alone: Played) -> None:
    together = play_steps(2, sharding, model, STEPS, SECONDS, OVERRIDES)
    assert (alone.sharded_parameters, together.sharded_parameters > 0) == (0, sharding == "fsdp2")
    assert len(together.results) == STEPS
    for one, two in zip(alone.results, together.results, strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-6)
    assert together.weights.keys() == alone.weights.keys()
    for name, sums in alone.weights.items():
        assert together.weights[name] == pytest.approx(sums, rel=1e-3, abs=1e-2)
    # Nothing is compared with nothing: the losses of the steps differ, and the first step changed the weights.
    assert len({round(result["loss"], 4) for result in alone.results}) == STEPS


def test_two_processes_take_a_step_that_is_the_only_one_left(model: Path) -> None:
    assert len(play_steps(2, "ddp", model, 1, SECONDS, OVERRIDES).results) == 1
