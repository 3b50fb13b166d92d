"""One side of the comparison in a process of its own: optimizer steps on the recorded trajectories, ours or TRL's.

Both have the same model, dtype, threads, adapter, optimizer, learning rate, trajectories and objective; the loss of the
first step is printed, and must be the same. The budget of tokens of a micro-batch is the same too: ours packs up to it,
TRL takes as many padded rows as fit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GROUPS_PER_STEP = 2
SEED = 1


def overrides(steps: int, budget: int, length: int) -> dict[str, str]:
    return {
        "schedule.steps": str(steps),
        "schedule.groups_per_step": str(GROUPS_PER_STEP),
        "optimizer.pack_tokens": str(budget),
        "objective.l_max": str(length),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["ours", "trl"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="timed ones; one more comes first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=0, help="of one of TRL's micro-batches; 0: what the budget allows")
    arguments = parser.parse_args()

    # As the trainer's process has it; TRL gains by it too.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from tests.benchmarks.recorded import load_groups
    from trainer_svc.config import resolve
    from trainer_svc.learner.batches import Group, rows_of
    from trainer_svc.learner.engine import Engine
    from trainer_svc.learner.trainer import StepResult
    from trainer_svc.learner.trl_engine import GRPOConfig, GRPOTrainer

    torch.set_num_threads(arguments.threads)
    groups = load_groups()
    per_group = len(groups[0].samples)
    steps = [
        [groups[(GROUPS_PER_STEP * step + i) % len(groups)] for i in range(GROUPS_PER_STEP)]
        for step in range(arguments.steps + 1)
    ]
    prompts = [[s.token_ids[: s.trained[0]] for g in step for s in g.samples] for step in steps]
    answers = [[s.token_ids[s.trained[0] : s.trained[-1] + 1] for g in step for s in g.samples] for step in steps]
    length = max(len(answer) for step in answers for answer in step)
    config = resolve("demo", overrides(arguments.steps + 1, arguments.budget, length))
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    ends: list[float] = []
    losses: list[float] = []

    def ours(scratch: Path) -> None:
        engine = Engine(config, model, tokenizer, SEED, scratch)

        def after(result: StepResult) -> bool:
            ends.append(time.perf_counter())
            losses.append(result.loss)
            return True

        engine.train(lambda: steps[len(ends)], after)

    class Recorded(GRPOTrainer):  # type: ignore[misc]
        """TRL's own step; where it would generate, the recorded answers are."""

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, torch.Tensor]:
            now, step = len(ends), steps[len(ends)]

            def padded(values: Sequence[Sequence[float]], side: str, dtype: torch.dtype) -> torch.Tensor:
                tensors = [torch.tensor(value, dtype=dtype) for value in values]
                return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_side=side)

            whole = torch.long
            return {
                "prompt_ids": padded(prompts[now], "left", whole),
                "prompt_mask": padded([[1] * len(prompt) for prompt in prompts[now]], "left", whole),
                "completion_ids": padded(answers[now], "right", whole),
                "completion_mask": padded([[1] * len(answer) for answer in answers[now]], "right", whole),
                "advantages": torch.tensor([row.advantage for group in rows_of(step, config) for row in group]),
                "old_per_token_logps": padded([s.logprobs for g in step for s in g.samples], "right", torch.float32),
            }

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
            if "grad_norm" in logs:
                ends.append(time.perf_counter())
                losses.append(float(logs["loss"]))

    def theirs(scratch: Path) -> None:
        from datasets import Dataset
        from peft import LoraConfig

        from trainer_svc.learner.engine import LORA_TARGETS

        total = GROUPS_PER_STEP * per_group
        width = max(map(len, prompts[0])) + length
        fitting = [n for n in range(1, total + 1) if total % n == 0 and n * width <= arguments.budget]
        rows = arguments.rows or max(fitting, default=1)
        trainer = Recorded(
            model=model,
            reward_funcs=lambda **kwargs: [],
            args=GRPOConfig(
                output_dir=str(scratch),
                max_steps=len(steps),
                per_device_train_batch_size=rows,
                gradient_accumulation_steps=total // rows,
                num_generations=per_group,
                max_completion_length=config.l_max,
                temperature=config.sampling.temperature,
                learning_rate=config.optimizer.learning_rate,
                lr_scheduler_type="constant",
                max_grad_norm=config.optimizer.max_grad_norm,
                optim="adamw_torch",
                # The same objective: as the sampler's log-probs are given, there is no second forward pass either.
                beta=0.0,
                epsilon=config.objective.epsilon_low,
                epsilon_high=config.objective.epsilon_high,
                delta=config.objective.truncation,
                scale_rewards="none",
                loss_type="dr_grpo",
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                seed=SEED,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_dict({"prompt": [""] * GROUPS_PER_STEP * len(steps)}),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=config.lora.rank,
                lora_alpha=config.lora.alpha,
                lora_dropout=0.0,
                target_modules=LORA_TARGETS,
                task_type="CAUSAL_LM",
            ),
            callbacks=[Clock()],
        )
        trainer.train()

    def trained_tokens(some: Sequence[Sequence[Group]]) -> int:
        return sum(len(sample.trained) for step in some for group in step for sample in group.samples)

    with tempfile.TemporaryDirectory() as scratch:
        (ours if arguments.side == "ours" else theirs)(Path(scratch))
    figures = {
        "tokens_per_second": trained_tokens(steps[1:]) / (ends[-1] - ends[0]),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "first_loss": losses[0],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
