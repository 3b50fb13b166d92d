"""The engine of reinforcement learning: TRL's loop and optimizer on groups that come from outside.

With several ranks rank 0 alone asks for groups and tells of steps; the others follow it until it has no more.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer_svc.config import Devices, RunConfig
from trainer_svc.learner.batches import Group
from trainer_svc.learner.learner import EngineState, Learner
from trainer_svc.learner.packing import take_packed_passes
from trainer_svc.learner.trainer import AtEachStep, ImprovedGRPOTrainer, NextBatch, NoMoreGroups, StepResult
from trainer_svc.learner.trl_engine import GRPOConfig

LORA_TARGETS = "all-linear"
# Rank 0 fails a run that stands still, long before this; it bounds what a link that is silently cut could hide.
RANKS_MEET_SECONDS = 24 * 3600

# What rank 0 says to the others after each step.
_GO_ON, _DONE, _BROKEN_OFF = "go on", "done", "broken off"

# Told after each optimizer step; answers whether to go on.
AfterStep = Callable[[StepResult], bool]


class Engine(Learner):
    """One model with its LoRA adapter and optimizer; `train` runs the remaining steps."""

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        seed: int,
        scratch: Path,
        steps_done: int = 0,
    ) -> None:
        super().__init__()
        schedule, optimizer = config.schedule, config.optimizer
        arguments = GRPOConfig(
            output_dir=str(scratch),
            max_steps=max(1, schedule.steps - steps_done),
            # A step of TRL's is a whole step of ours: micro-batches are cut and accumulated inside it.
            per_device_train_batch_size=schedule.group_size,
            gradient_accumulation_steps=1,
            num_generations=schedule.group_size,
            max_completion_length=config.l_max,
            temperature=config.sampling.temperature,
            learning_rate=optimizer.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=optimizer.weight_decay,
            max_grad_norm=optimizer.max_grad_norm,
            optim="adamw_torch",
            # TRL would load a reference model of its own.
            beta=0.0,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            seed=seed % 2**32,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            shuffle_dataset=False,
            dataloader_pin_memory=False,
            **_among_ranks(config.devices),
        )
        take_packed_passes(model)
        self.trainer = ImprovedGRPOTrainer(
            config=config,
            model=model,
            reward_funcs=_rewards_come_with_trajectories,
            args=arguments,
            # TRL takes a prompt for each rank at each step, and of too few none at all.
            train_dataset=Dataset.from_dict({"prompt": [""] * (arguments.max_steps * config.devices.processes)}),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=config.lora.rank,
                lora_alpha=config.lora.alpha,
                lora_dropout=0.0,
                target_modules=LORA_TARGETS,
                task_type="CAUSAL_LM",
            ),
            callbacks=[AtEachStep(self.restore_pending, self._end_step)],
        )
        self.after_step: AfterStep = lambda result: True

    def train(self, next_batch: NextBatch, after_step: AfterStep) -> None:
        """Runs until the last step, or until after_step says stop. What the two raise comes through."""

        def next_groups() -> Sequence[Group]:
            try:
                return next_batch()
            except BaseException:  # also an order to stop: the others wait for groups
                self.trainer.ranks.share_groups(None)
                raise

        self.trainer.next_batch = next_groups
        self.after_step = after_step
        self._begin_alike()
        self.trainer.train()

    def follow(self) -> None:
        """What every rank but the first does: the same steps, for as long as there are some."""
        self._begin_alike()
        with contextlib.suppress(NoMoreGroups):
            self.trainer.train()

    def _begin_alike(self) -> None:
        """Every rank has rank 0's adapter and number of steps and, of a resumed run, its optimizer and generators."""
        arguments, ranks = self.trainer.args, self.trainer.ranks
        if ranks.count == 1:
            return
        mine = self._pending or EngineState({f"adapter/{name}": t for name, t in self.adapter().items()}, {})
        tensors, scalars = ranks.share_state(mine.tensors, {"optimizer_steps": {}, **mine.scalars})
        self.restore(EngineState(tensors, scalars))
        arguments.max_steps = int(ranks.share_word(str(arguments.max_steps)))

    def _end_step(self, gradient_norm: float) -> bool:
        self.gather()
        ranks = self.trainer.ranks
        if not ranks.leads:
            word: str = ranks.share_word("")
            if word == _BROKEN_OFF:
                raise NoMoreGroups
            return word == _GO_ON
        try:
            goes_on = self.after_step(self._result(gradient_norm))
        except BaseException:
            ranks.share_word(_BROKEN_OFF)
            raise
        ranks.share_word(_GO_ON if goes_on else _DONE)
        return goes_on

    def _result(self, gradient_norm: float) -> StepResult:
        sums = self.trainer.sums
        tokens = max(1.0, sums.tokens)
        return StepResult(
            loss=sums.loss,
            gradient_norm=gradient_norm,
            clip_fraction=sums.clipped / tokens,
            truncated_fraction=sums.truncated / tokens,
            masked_fraction=sums.masked / tokens,
            weight=sums.weight / tokens,
            truncated_weight=sums.truncated_weight / tokens,
            mismatch_kl=sums.kl / tokens,
            reference_kl=sums.reference_kl / tokens,
            entropy=sums.entropy / tokens,
            tokens=int(sums.tokens),
            bonus_mean=self.trainer.bonus_mean,
        )


def _among_ranks(devices: Devices) -> dict[str, Any]:
    """For one of several processes, as torchrun and accelerate mark them; nothing for a process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return {}
    settings: dict[str, Any] = {"ddp_timeout": RANKS_MEET_SECONDS, "ddp_find_unused_parameters": False}
    if not torch.cuda.is_available():
        settings["ddp_backend"] = "gloo"
    if devices.sharding == "fsdp2":
        settings |= {"fsdp": True, "fsdp_config": {"version": 2}}
    return settings


def _rewards_come_with_trajectories(**kwargs: Any) -> list[float]:
    raise AssertionError("rewards come with the trajectories")
