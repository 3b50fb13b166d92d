"""A few steps of the training engine on made-up trajectories, in one process or in several.

`play_steps` does it in processes of their own and gives back what rank 0 saw; run as a module, this is rank 0.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer_svc.config import RunConfig
from trainer_svc.learner.batches import Group, Sample


@dataclass(frozen=True)
class Played:
    # A StepResult a step.
    results: list[dict[str, Any]]
    # Of the served weights after the last step: name, sum and sum of absolute values.
    weights: dict[str, list[float]]
    sharded_parameters: int

    def furthest_from(self, other: Played) -> float:
        """The greatest difference between the two curves of loss."""
        pairs = zip(self.results, other.results, strict=True)
        return max(abs(float(a["loss"]) - float(b["loss"])) for a, b in pairs)


def play_steps(
    processes: int, sharding: str, model: Path, steps: int, seconds: float, overrides: Mapping[str, str] | None = None
) -> Played:
    """Raises AssertionError with what the ranks said where they failed, TimeoutExpired after `seconds`."""
    settings = {
        "schedule.steps": str(steps),
        "devices.processes": str(processes),
        "devices.sharding": f'"{sharding}"',
        **(overrides or {}),
    }
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "answer.json"
        command = [sys.executable, "-m", "tests.training_ranks", str(model), str(answer), json.dumps(settings)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, env=environment, timeout=seconds, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return Played(**json.loads(answer.read_text(encoding="utf-8")))


def made_up(config: RunConfig, vocabulary: int) -> list[Group]:
    """Groups of every step: a prompt, answers of different lengths, rewards."""
    source = random.Random(5)

    def some(count: int) -> list[int]:
        return [source.randrange(vocabulary) for _ in range(count)]

    groups = []
    for _ in range(config.schedule.steps * config.schedule.groups_per_step):
        prompt, samples = some(source.randint(20, 120)), []
        for _ in range(config.schedule.group_size):
            answer = some(source.randint(4, config.sampling.max_tokens))
            trained = list(range(len(prompt), len(prompt) + len(answer)))
            logprobs = [-math.log(vocabulary) - source.random() for _ in answer]
            samples.append(Sample(prompt + answer, trained, logprobs, source.random()))
        groups.append(Group(samples))
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("overrides", type=json.loads)
    arguments = parser.parse_args()

    import torch
    from torch.distributed.tensor import DTensor
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainer_svc.config import resolve
    from trainer_svc.learner.engine import Engine
    from trainer_svc.learner.followers import followers
    from trainer_svc.learner.trainer import StepResult

    torch.set_num_threads(1)
    config = resolve("demo", arguments.overrides)
    results: list[StepResult] = []
    with followers(config, arguments.model, seed=1, threads=1), tempfile.TemporaryDirectory() as scratch:
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="sdpa")
        tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        groups = made_up(config, model.config.vocab_size)
        engine = Engine(config, model, tokenizer, seed=1, scratch=Path(scratch))

        def after(result: StepResult) -> bool:
            results.append(result)
            return True

        per_step = config.schedule.groups_per_step
        engine.train(lambda: groups[per_step * len(results) : per_step * (len(results) + 1)], after)
        merged = engine.merged_weights()
        played = Played(
            [asdict(result) for result in results],
            {name: [float(t.double().sum()), float(t.double().abs().sum())] for name, t in merged.items()},
            sum(isinstance(parameter, DTensor) for parameter in engine.trainer.model.parameters()),
        )
    arguments.answer.write_text(json.dumps(asdict(played)), encoding="utf-8")


if __name__ == "__main__":
    main()
