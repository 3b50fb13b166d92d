"""TRL's SFTTrainer for mid-training and SFT, on rows of token ids, with a KL to the frozen reference where a row asks.

    loss = mean NLL over the labelled tokens + β · mean KL(π_ref ‖ π) over the tokens of anchored rows

The reference is the model as the stage found it: under LoRA the model without its adapter, otherwise a frozen copy.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback

from trainer_svc.config import RunConfig
from trainer_svc.learner.engine import LORA_TARGETS
from trainer_svc.learner.learner import Learner
from trainer_svc.learner.trl_engine import SFTConfig, SFTTrainer

# The label of a token that is given, not predicted.
GIVEN = -100


@dataclass(frozen=True)
class Row:
    """labels are the token ids to predict, GIVEN elsewhere; an anchored row is held to the reference."""

    token_ids: list[int]
    labels: list[int]
    anchored: bool = False


@dataclass(frozen=True)
class SupervisedResult:
    """Of one optimizer step: nll in nats a labelled token, kl in nats an anchored token."""

    nll: float
    kl: float
    gradient_norm: float
    tokens: int
    seconds: float


@dataclass
class _Sums:
    nll: float = 0.0
    kl: float = 0.0
    tokens: int = 0
    since: float = field(default_factory=time.monotonic)


class AnchoredTrainer(SFTTrainer):  # type: ignore[misc]
    """Rows in the order in which they come; `reference` is None under LoRA."""

    def __init__(self, kl_weight: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.kl_weight = kl_weight
        self.reference: torch.nn.Module | None = None
        self.sums = _Sums()

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(self.train_dataset)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        ids, seen, labels = inputs["input_ids"], inputs["attention_mask"], inputs["labels"][:, 1:]
        # Logits of the places alone whose next token some row learns or is held to: a prompt's are many, and large.
        wanted = (labels != GIVEN) | (seen[:, 1:].bool() & inputs["anchored"][:, None])
        places = wanted.any(dim=0).nonzero().squeeze(1)
        logits = model(input_ids=ids, attention_mask=seen, logits_to_keep=places).logits.float()
        nll = cross_entropy(logits.flatten(0, 1), labels[:, places].flatten(), ignore_index=GIVEN)
        loss = nll
        if self.kl_weight and bool((anchored := inputs["anchored"]).any()):
            with torch.no_grad(), self._as_reference(model) as reference:
                expected = reference(
                    input_ids=ids[anchored], attention_mask=seen[anchored], logits_to_keep=places
                ).logits.float()
            held = kl_to_reference(logits[anchored], expected, seen[anchored][:, 1:][:, places].bool())
            loss = nll + self.kl_weight * held
            self.sums.kl = float(held.detach())
        self.sums.nll = float(nll.detach())
        self.sums.tokens = int((labels != GIVEN).sum())
        return loss

    @contextlib.contextmanager
    def _as_reference(self, model: Any) -> Iterator[Any]:
        if self.reference is not None:
            yield self.reference
        else:
            with self.accelerator.unwrap_model(model).disable_adapter():
                yield model


def kl_to_reference(logits: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Mean over masked tokens of KL(π_ref ‖ π) over the whole vocabulary. logits: (B, T, V); mask: (B, T) of bool."""
    expected = log_softmax(reference[mask], dim=-1)
    return kl_div(log_softmax(logits[mask], dim=-1), expected, reduction="batchmean", log_target=True)


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Padded on the right: input_ids, attention_mask, labels (B, T) and anchored (B,)."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int) -> Tensor:
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    return {
        "input_ids": padded("input_ids", 0),
        "attention_mask": torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
        ),
        "labels": padded("labels", GIVEN),
        "anchored": torch.tensor([row["anchored"] for row in rows]),
    }


# Told after each optimizer step; what it raises ends the training.
AfterStep = Callable[[SupervisedResult], None]


class _AfterEachStep(TrainerCallback):  # type: ignore[misc]
    def __init__(self, engine: "SupervisedEngine") -> None:
        self.engine = engine

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.engine.restore_pending()
        self.engine.trainer.sums = _Sums()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is not None and "grad_norm" in logs:
            sums = self.engine.trainer.sums
            seconds = time.monotonic() - sums.since
            self.engine.after_step(SupervisedResult(sums.nll, sums.kl, float(logs["grad_norm"]), sums.tokens, seconds))


class SupervisedEngine(Learner):
    """One model, with a LoRA adapter or all of its weights, and its optimizer; `train` runs the remaining steps."""

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
        optimizer, adapted = config.optimizer, config.lora.rank > 0
        # Before a checkpoint is restored into the model: the reference is what the stage found.
        reference = None if adapted or not config.supervised.kl_weight else copy.deepcopy(model).eval()
        arguments = SFTConfig(
            output_dir=str(scratch),
            max_steps=max(1, config.schedule.steps - steps_done),
            per_device_train_batch_size=config.supervised.rows_per_step,
            learning_rate=optimizer.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=optimizer.weight_decay,
            max_grad_norm=optimizer.max_grad_norm,
            optim="adamw_torch",
            loss_type="nll",
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            seed=seed % 2**32,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        lora = LoraConfig(
            r=max(1, config.lora.rank),
            lora_alpha=config.lora.alpha,
            lora_dropout=0.0,
            target_modules=LORA_TARGETS,
            task_type="CAUSAL_LM",
        )
        self.trainer = AnchoredTrainer(
            kl_weight=config.supervised.kl_weight,
            model=model,
            args=arguments,
            train_dataset=_dataset([Row([0, 0], [0, 0])]),
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=lora if adapted else None,
            callbacks=[_AfterEachStep(self)],
        )
        self.trainer.reference = reference
        self.trainer.remove_callback(PrinterCallback)  # the run's events say it
        self.after_step: AfterStep = lambda result: None

    def train(self, rows: Sequence[Row], after_step: AfterStep) -> None:
        """rows are those of the remaining steps, in order, rows_per_step each. What after_step raises comes through."""
        self.trainer.train_dataset = _dataset(rows)
        self.after_step = after_step
        self.trainer.train()


def _dataset(rows: Sequence[Row]) -> Dataset:
    return Dataset.from_list(
        [{"input_ids": row.token_ids, "labels": row.labels, "anchored": row.anchored} for row in rows]
    )
