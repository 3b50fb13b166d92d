"""TRL's GRPOTrainer with our trajectories and our objective: its model, optimizer and loop, our step.

One hook of the pinned TRL is overridden, training_step: the groups of a step come from outside, are packed into
micro-batches under a budget of tokens and shared among the ranks, and their gradients add up to that of the objective.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from transformers import TrainerCallback

from trainer_svc.config import Objective, RunConfig
from trainer_svc.learner.batches import NOTHING, Group, MicroBatch, micro_batches, rows_of
from trainer_svc.learner.objective import Options, Terms, improved_grpo
from trainer_svc.learner.packing import packed_logprobs
from trainer_svc.learner.ranks import Ranks
from trainer_svc.learner.trl_engine import GRPOTrainer


@dataclass
class StepResult:
    """Means over the trained tokens of one optimizer step; the loss over its groups, the bonus over trajectories."""

    loss: float
    gradient_norm: float
    clip_fraction: float
    truncated_fraction: float
    masked_fraction: float
    # Importance weights, before and after truncation.
    weight: float
    truncated_weight: float
    mismatch_kl: float
    reference_kl: float
    entropy: float
    tokens: int
    bonus_mean: float


# What Sums adds up of the objective's Terms.
SUMMED = ("clipped", "truncated", "masked", "weight", "truncated_weight", "kl", "reference_kl", "tokens")


@dataclass
class Sums:
    loss: float = 0.0
    clipped: float = 0.0
    truncated: float = 0.0
    masked: float = 0.0
    weight: float = 0.0
    truncated_weight: float = 0.0
    kl: float = 0.0
    reference_kl: float = 0.0
    entropy: float = 0.0
    tokens: float = 0.0

    def add(self, terms: Terms, entropy: float) -> None:
        self.loss += float(terms.loss.detach())
        self.entropy += entropy
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(terms, name))

    def over(self, ranks: Ranks) -> "Sums":
        return Sums(*ranks.sums([getattr(self, field.name) for field in fields(self)]))


# Gives the groups of the next step, exactly groups_per_step of them.
NextBatch = Callable[[], Sequence[Group]]


class NoMoreGroups(Exception):
    """Rank 0 is done: the others are too."""


class ImprovedGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """Trains on groups that `next_batch` hands over on rank 0."""

    def __init__(self, config: RunConfig, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.config = config
        self.next_batch: NextBatch = lambda: []
        self.ranks = Ranks(self.args.device)
        self.sums = Sums()
        self.bonus_mean = 0.0
        self.objective = options(config.objective, config.l_max)

    def create_accelerator_and_postprocess(self) -> None:
        """accelerate passes over FSDP2 in silence where ranks are CPUs: then it is told that they are not."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        if self.args.fsdp and state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = PartialState().distributed_type = (
                DistributedType.FSDP
            )  # the second resets the first
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """The gradient of -J over the step's groups, in as many passes as the budget of tokens asks for."""
        model.train()
        groups = self.ranks.share_groups(self._next_groups() if self.ranks.leads else None)
        if groups is None:
            raise NoMoreGroups
        rows = rows_of(groups, self.config)
        bonuses = [row.bonus for group in rows for row in group]
        self.bonus_mean = sum(bonuses) / len(bonuses)
        self.sums = Sums()
        mine = self._of_this_rank(micro_batches(rows, self.config.optimizer.pack_tokens))
        for number, micro_batch in enumerate(mine, start=1):
            # Gradients are averaged over the ranks once, with the last pass.
            last = number == len(mine)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = self.loss_of(model, micro_batch)
                self.accelerator.backward(loss * self.ranks.count)
        self.sums = self.sums.over(self.ranks)
        return torch.tensor(self.sums.loss, device=self.args.device)

    def loss_of(self, model: Any, micro_batch: MicroBatch) -> torch.Tensor:
        """This micro-batch's part of -J; the parts of a step add up to it."""
        rows = [row for group in micro_batch for row in group]
        tokens = [[row.sample.token_ids for row in group] for group in micro_batch]
        trained = [row.sample.trained for row in rows]
        temperature = self.config.sampling.temperature
        logp, entropy = packed_logprobs(model, tokens, trained, temperature)
        pad = torch.nn.utils.rnn.pad_sequence
        padded = pad(logp, batch_first=True)
        reference = None
        if self.objective.beta:
            with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
                reference = pad(packed_logprobs(model, tokens, trained, temperature)[0], batch_first=True)
        device = padded.device
        terms = improved_grpo(
            padded,
            pad([torch.tensor(row.sample.logprobs) for row in rows], batch_first=True).to(device),
            torch.tensor([row.advantage for row in rows], device=device),
            torch.tensor([row.share for row in rows], device=device),
            pad([torch.ones(len(at)) for at in trained], batch_first=True).to(device),
            self.objective,
            reference,
        )
        if micro_batch is not NOTHING:
            self.sums.add(terms, sum(float(values.sum()) for values in entropy))
        return terms.loss

    def _next_groups(self) -> list[Group]:
        groups = list(self.next_batch())
        wanted = self.config.schedule.groups_per_step
        if len(groups) != wanted:
            raise ValueError(f"a step takes {wanted} groups, not {len(groups)}")
        return groups

    def _of_this_rank(self, batches: list[MicroBatch]) -> list[MicroBatch]:
        """Every rank has as many, since each pass is a meeting of all."""
        count = self.ranks.count
        batches = batches + [NOTHING] * (-len(batches) % count)
        return batches[self.ranks.rank :: count]


def options(objective: Objective, l_max: int) -> Options:
    return Options(
        epsilon_low=objective.epsilon_low,
        epsilon_high=objective.epsilon_high,
        truncation=objective.truncation,
        l_max=l_max,
        per_token_mean=objective.divide_by_length,
        beta=objective.kl_to_reference,
        ratio_bound=objective.mask_ratio or None,
        sequence_kl_bound=objective.mask_sequence_kl or None,
    )


class AtEachStep(TrainerCallback):  # type: ignore[misc]
    """A step is over when TRL logs its gradient norm: gradients are applied, nothing of the next step has begun."""

    def __init__(self, begin: Callable[[], None], end: Callable[[float], bool]) -> None:
        self.begin = begin
        self.end = end

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begin()  # not earlier: making the data loader's iterator draws from torch's generator

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is not None and "grad_norm" in logs and not self.end(float(logs["grad_norm"])):
            control.should_training_stop = True
