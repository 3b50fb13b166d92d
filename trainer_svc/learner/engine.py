"""TRL's GRPOTrainer as the training engine: its loop and optimizer, our trajectories and our objective.

Three hooks of the pinned TRL are overridden: where it would generate, the next batch comes from outside; a micro-batch
is one whole group (TRL would shuffle groups apart); and the loss is `objective.improved_grpo` on packed groups.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from trainer_svc.config import RunConfig
from trainer_svc.learner.objective import Clip, Terms, advantages, improved_grpo, length_bonus
from trainer_svc.learner.packing import packed_logprobs, split_to_fit
from trainer_svc.learner.trl_engine import GRPOConfig, GRPOTrainer

LORA_TARGETS = "all-linear"


@dataclass(frozen=True)
class Sample:
    """One completed trajectory: trained has the indices of the tokens to train on, logprobs the sampler's of these."""

    token_ids: list[int]
    trained: list[int]
    logprobs: list[float]
    reward: float


@dataclass(frozen=True)
class Group:
    samples: list[Sample]


@dataclass
class StepResult:
    """Means over the trained tokens of one optimizer step."""

    loss: float
    gradient_norm: float
    clip_fraction: float
    truncated_fraction: float
    mismatch_kl: float
    entropy: float
    tokens: int
    bonus_mean: float


@dataclass
class _Sums:
    loss: float = 0.0
    clipped: float = 0.0
    truncated: float = 0.0
    kl: float = 0.0
    entropy: float = 0.0
    tokens: float = 0.0
    bonuses: list[float] = field(default_factory=list)

    def add(self, terms: Terms, entropy: float, bonus: float) -> None:
        self.loss += float(terms.loss.detach())
        self.clipped += terms.clipped
        self.truncated += terms.truncated
        self.kl += terms.kl
        self.entropy += entropy
        self.tokens += terms.tokens
        self.bonuses.append(bonus)


# Gives the groups of the next step, exactly groups_per_step of them.
NextBatch = Callable[[], Sequence[Group]]
# Told after each optimizer step; answers whether to go on.
AfterStep = Callable[[StepResult], bool]


class ImprovedGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """Trains on groups that `next_batch` hands over."""

    def __init__(self, config: RunConfig, next_batch: NextBatch, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.config = config
        self.next_batch = next_batch
        self.sums = _Sums()
        self._step_groups: list[Group] = []
        objective = config.objective
        self.clip = Clip(objective.epsilon_low, objective.epsilon_high, objective.truncation, config.l_max)

    def _prepare_inputs(self, generation_batch: Any) -> Group:
        position = self._step % self.args.steps_per_generation
        if position == 0:
            self._step_groups = self._generate_and_score_completions(generation_batch)
        group: Group = self._step_groups[position]
        return group

    def _generate_and_score_completions(self, inputs: Any) -> list[Group]:
        groups = list(self.next_batch())
        if len(groups) != self.args.steps_per_generation:
            raise ValueError(f"a step takes {self.args.steps_per_generation} groups, not {len(groups)}")
        self.sums = _Sums()
        return groups

    def _compute_loss(self, model: Any, inputs: Group) -> torch.Tensor:
        """The mean over the step's groups of each group's -J; TRL adds the micro-batches up."""
        samples = inputs.samples
        rewards = torch.tensor([sample.reward for sample in samples])
        bonus = torch.zeros_like(rewards)
        if self.config.objective.length_bonus:
            lengths = torch.tensor([len(sample.trained) for sample in samples])
            objective = self.config.objective
            bonus = length_bonus(rewards, lengths, objective.length_quantile, objective.length_threshold)
        advantage = advantages(rewards + bonus)

        logp, entropy = [], []
        rows = [sample.token_ids for sample in samples]
        for part in split_to_fit(rows, self.config.optimizer.pack_tokens):
            logp_part, entropy_part = packed_logprobs(
                model, [rows[i] for i in part], [samples[i].trained for i in part], self.temperature
            )
            logp += logp_part
            entropy += entropy_part
        pad = torch.nn.utils.rnn.pad_sequence
        padded = pad(logp, batch_first=True)
        sampler = pad([torch.tensor(sample.logprobs) for sample in samples], batch_first=True)
        mask = pad([torch.ones(len(sample.trained)) for sample in samples], batch_first=True)
        device = padded.device
        terms = improved_grpo(padded, sampler.to(device), advantage.to(device), mask.to(device), self.clip)
        self.sums.add(terms, sum(float(values.sum()) for values in entropy), float(bonus.mean()))
        accumulated: int = self.current_gradient_accumulation_steps
        return terms.loss / accumulated


class _AfterEachStep(TrainerCallback):  # type: ignore[misc]
    """A step is over when TRL logs its gradient norm: gradients are applied, nothing of the next step has begun."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.engine.restore_pending()  # not earlier: making the data loader's iterator draws from torch's generator

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is None or "grad_norm" not in logs:
            return
        sums = self.engine.trainer.sums
        tokens = max(1.0, sums.tokens)
        result = StepResult(
            loss=sums.loss / max(1, len(sums.bonuses)),
            gradient_norm=float(logs["grad_norm"]),
            clip_fraction=sums.clipped / tokens,
            truncated_fraction=sums.truncated / tokens,
            mismatch_kl=sums.kl / tokens,
            entropy=sums.entropy / tokens,
            tokens=int(sums.tokens),
            bonus_mean=sum(sums.bonuses) / max(1, len(sums.bonuses)),
        )
        if not self.engine.after_step(result):
            control.should_training_stop = True


@dataclass(frozen=True)
class EngineState:
    """All that a resumed engine needs: adapter weights, optimizer moments, counts and generators."""

    tensors: dict[str, torch.Tensor]
    scalars: dict[str, Any]


class Engine:
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
        self._pending: EngineState | None = None
        schedule, optimizer = config.schedule, config.optimizer
        arguments = GRPOConfig(
            output_dir=str(scratch),
            max_steps=max(1, schedule.steps - steps_done),
            per_device_train_batch_size=schedule.group_size,
            gradient_accumulation_steps=schedule.groups_per_step,
            num_generations=schedule.group_size,
            max_completion_length=config.l_max,
            temperature=config.sampling.temperature,
            learning_rate=optimizer.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=optimizer.weight_decay,
            max_grad_norm=optimizer.max_grad_norm,
            optim="adamw_torch",
            # Restated for the reader: what the objective does itself, TRL must not do again.
            beta=0.0,
            epsilon=config.objective.epsilon_low,
            epsilon_high=config.objective.epsilon_high,
            scale_rewards="none",
            loss_type="dr_grpo",
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
        )
        rows = schedule.groups_per_step * schedule.steps
        self.trainer = ImprovedGRPOTrainer(
            config=config,
            next_batch=lambda: [],
            model=model,
            reward_funcs=_rewards_come_with_trajectories,
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": [""] * rows}),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=config.lora.rank,
                lora_alpha=config.lora.alpha,
                lora_dropout=0.0,
                target_modules=LORA_TARGETS,
                task_type="CAUSAL_LM",
            ),
            callbacks=[_AfterEachStep(self)],
        )
        self.after_step: AfterStep = lambda result: True

    def train(self, next_batch: NextBatch, after_step: AfterStep) -> None:
        """Runs until the last step, or until after_step says stop. What the two raise comes through."""
        self.trainer.next_batch = next_batch
        self.after_step = after_step
        self.trainer.train()

    def adapter(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.trainer.model.named_parameters() if p.requires_grad}

    def state(self) -> EngineState:
        tensors = {f"adapter/{name}": tensor.clone() for name, tensor in self.adapter().items()}
        steps: dict[str, float] = {}
        optimizer = self.trainer.optimizer
        if optimizer is not None:
            names = {id(p): name for name, p in self.trainer.model.named_parameters()}
            for parameter, moments in _plain(optimizer).state.items():
                name = names[id(parameter)]
                steps[name] = float(moments["step"])
                tensors[f"optimizer/exp_avg/{name}"] = moments["exp_avg"].clone()
                tensors[f"optimizer/exp_avg_sq/{name}"] = moments["exp_avg_sq"].clone()
        tensors["rng/torch"] = torch.get_rng_state()
        version, internal, gauss = random.getstate()
        kind, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
        assert not isinstance(keys, str)
        scalars = {
            "optimizer_steps": steps,
            "python_rng": [version, list(internal), gauss],
            "numpy_rng": [kind, keys.tolist(), position, has_gauss, cached],
        }
        return EngineState(tensors, scalars)

    def restore(self, state: EngineState) -> None:
        """Weights at once; optimizer and generators when training begins, since TRL creates and seeds them then.

        A state from before the first step has no optimizer yet, and TRL seeds the generators of a first step itself.
        """
        with torch.no_grad():
            for name, parameter in self.adapter().items():
                parameter.copy_(state.tensors[f"adapter/{name}"])
        self._pending = state if state.scalars["optimizer_steps"] else None

    def restore_pending(self) -> None:
        state, self._pending = self._pending, None
        if state is None:
            return
        steps: dict[str, float] = state.scalars["optimizer_steps"]
        parameters = dict(self.trainer.model.named_parameters())
        optimizer = _plain(self.trainer.optimizer)
        for name, step in steps.items():
            optimizer.state[parameters[name]] = {
                "step": torch.tensor(step),
                "exp_avg": state.tensors[f"optimizer/exp_avg/{name}"].clone(),
                "exp_avg_sq": state.tensors[f"optimizer/exp_avg_sq/{name}"].clone(),
            }
        torch.set_rng_state(state.tensors["rng/torch"])
        version, internal, gauss = state.scalars["python_rng"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = state.scalars["numpy_rng"]
        numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))

    def merged_weights(self) -> dict[str, torch.Tensor]:
        """Base plus adapter in bfloat16, under the base model's own names."""
        merged: dict[str, torch.Tensor] = {}
        base = self.trainer.model.get_base_model()
        with torch.no_grad():
            adapted = {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
            for name, parameter in base.named_parameters():
                if ".lora_" in name:
                    continue
                owner = name.removesuffix(".base_layer.weight")
                if owner in adapted and owner != name:
                    parameter = parameter + adapted[owner].get_delta_weight("default")
                merged[name.replace(".base_layer.", ".")] = parameter.to(torch.bfloat16).contiguous()
        return merged


def _plain(optimizer: Any) -> torch.optim.Optimizer:
    """Without accelerate's wrapping."""
    return getattr(optimizer, "optimizer", optimizer)  # type: ignore[no-any-return]


def _rewards_come_with_trajectories(**kwargs: Any) -> list[float]:
    raise AssertionError("rewards come with the trajectories")
