"""What a run does: a TOML preset changed by dotted overrides, refused as a whole when one name or value is wrong."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PRESETS = Path(__file__).parent / "presets"


# Mid-training, SFT by rejection sampling, RL by verifiers, by rubrics, with the patient.
StageName = Literal["mid", "sft", "rl1", "rl2", "rl3"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(Section):
    steps: int = Field(ge=1)
    groups_per_step: int = Field(default=1, ge=1)
    # G: samples of one group.
    group_size: int = Field(default=2, ge=2, le=1024)
    # η: the greatest staleness in versions.
    max_staleness: int = Field(default=1, ge=0)
    max_concurrent: int = Field(default=64, ge=1)
    group_timeout_seconds: float = Field(default=600.0, gt=0)
    request_ttl_seconds: float = Field(default=1800.0, gt=0)


class Rollouts(Section):
    kind: Literal["prompt", "fragment", "consultation"] = "fragment"
    max_doctor_turns: int = Field(default=3, ge=1, le=64)
    # Consultations on training cases that are sliced into fragments.
    context_consultations: int = Field(default=8, ge=1)


class Sampling(Section):
    # top_p and top_k stay off: a truncated distribution's log-probs are not the policy's.
    temperature: float = Field(default=1.0, gt=0, le=5)
    max_tokens: int = Field(default=256, ge=1)


class Evaluation(Section):
    """Held out, the same each time: consultations (cases x personas) in RL 3, tasks in the stages before it."""

    # Also between: after so many steps each time; 0 measures before and after alone. Nothing is trained meanwhile.
    every_steps: int = Field(default=0, ge=0)
    cases: int = Field(default=0, ge=0)
    personas: int = Field(default=1, ge=1)
    max_doctor_turns: int = Field(default=3, ge=1, le=64)
    tasks: int = Field(default=0, ge=0)
    # What training must not cost: so many items of each, and so many tokens of each text.
    gsm8k: int = Field(default=0, ge=0)
    ifeval: int = Field(default=0, ge=0)
    perplexity_tokens: int = Field(default=0, ge=0)
    # Of an answer to a task.
    max_tokens: int = Field(default=256, ge=1)


class Data(Section):
    """Files under the trainer's data directory, each as `format:path` (stages/sources.py)."""

    medical: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    maths: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    # Prompts with the answers to learn, for SFT.
    pairs: tuple[str, ...] = ()
    # What perplexity is measured on, beside the held-out part of `medical`.
    general_probe: tuple[str, ...] = ()
    # By the hash of a record's id, so that it is the same share in every stage.
    held_out_percent: int = Field(default=20, ge=1, le=90)


class Supervised(Section):
    """Mid-training and SFT: next-token loss."""

    # A supplied pair that is longer is left out, and counted.
    row_tokens: int = Field(default=256, ge=16)
    rows_per_step: int = Field(default=5, ge=1)
    checkpoint_steps: int = Field(default=10, ge=1)
    # Of the KL to the frozen reference, on general and maths rows alone.
    kl_weight: float = Field(default=1.0, ge=0)


class Selection(Section):
    """Which tasks are asked by rejection sampling, and what becomes of them."""

    # Drawn from a pool of the training tasks, evenly over the clusters of their embeddings.
    pool: int = Field(default=256, ge=1)
    tasks: int = Field(default=32, ge=1)
    clusters: int = Field(default=8, ge=1)
    # k: answers to each.
    candidates: int = Field(default=4, ge=1)
    # The reward from which on an answer passes.
    passes_at: float = Field(default=1.0, gt=0)
    # RL 1 trains on tasks whose pass rate lies between: neither hopeless nor learned.
    least_pass_rate: float = Field(default=0.1, ge=0, le=1)
    greatest_pass_rate: float = Field(default=0.9, ge=0, le=1)
    # Where no answer of an open task passes, the most agreed one is kept if it agrees this much (mean cosine).
    consensus: float = Field(default=0.8, ge=-1, le=1)


class Lora(Section):
    # 0 trains every weight, in mid-training and SFT.
    rank: int = Field(default=16, ge=0)
    alpha: int = Field(default=32, ge=1)


class Optimizer(Section):
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    # Tokens of one packed forward pass over several groups, trained ones counted twice; gradients are accumulated over
    # the passes of a step.
    pack_tokens: int = Field(default=4096, ge=64)


class Devices(Section):
    """Processes of this machine that train together; more machines are the business of who starts them."""

    processes: int = Field(default=1, ge=1, le=64)
    # ddp: each has the whole model; fsdp2: each has a shard of it.
    sharding: Literal["ddp", "fsdp2"] = "ddp"


class Objective(Section):
    epsilon_low: float = Field(default=0.2, gt=0, lt=1)
    epsilon_high: float = Field(default=0.28, gt=0)
    # C: the greatest importance weight between sampler and trainer.
    truncation: float = Field(default=2.0, ge=1)
    # The constant that divides the token sum; 0 means the most tokens a trajectory can have.
    l_max: int = Field(default=0, ge=0)
    # Off-policy masking: a token whose ratio lies outside [1/b, b], a sequence whose mean KL from the sampler is above
    # the bound. 0 masks nothing. How old a token may be is schedule.max_staleness.
    mask_ratio: float = Field(default=0.0, ge=0)
    mask_sequence_kl: float = Field(default=0.0, ge=0)
    # Plain GRPO, to compare with: the advantage over its standard deviation, the token sum over the answer's own
    # length, β times the KL to the reference (the model without its adapter).
    divide_by_std: bool = False
    divide_by_length: bool = False
    kl_to_reference: float = Field(default=0.0, ge=0)
    length_bonus: bool = False
    # The report's formula has the 0.2 quantile, its text the 80th percentile.
    length_quantile: float = Field(default=0.2, ge=0, le=1)
    length_threshold: float = 0.0

    @model_validator(mode="after")
    def clip_higher(self) -> Self:
        if self.epsilon_high < self.epsilon_low:
            raise ValueError("epsilon_high must not be less than epsilon_low")
        return self

    @model_validator(mode="after")
    def bounds_leave_room(self) -> Self:
        if self.divide_by_length and self.l_max:
            raise ValueError("l_max divides nothing where divide_by_length does")
        if self.mask_ratio and self.mask_ratio <= 1 + self.epsilon_high:
            raise ValueError("mask_ratio must be above 1 + epsilon_high: nearer ratios are what clipping is for")
        return self


class Alerts(Section):
    """When somebody is told that a run goes wrong; means over `window` steps."""

    window: int = Field(default=5, ge=1)
    # Fall of the mean reward below the best before it.
    reward_drop: float = Field(default=0.2, gt=0)
    # Of the first steps' entropy.
    entropy_share: float = Field(default=0.2, gt=0, lt=1)
    # Between sampler and trainer, in nats a token.
    mismatch_kl: float = Field(default=0.1, gt=0)
    # Rise of the second judge's disagreement above the first steps', as a share of the points that both graded. Only
    # where rollout workers ask for second opinions.
    judge_disagreement: float = Field(default=0.15, gt=0)


class RunConfig(Section):
    stage: StageName = "rl3"
    # A finished run, whose model this one starts from; empty means the trainer's own model.
    start_from: str = ""
    schedule: Schedule
    rollouts: Rollouts = Rollouts()
    sampling: Sampling = Sampling()
    evaluation: Evaluation = Evaluation()
    lora: Lora = Lora()
    optimizer: Optimizer
    objective: Objective = Objective()
    data: Data = Data()
    supervised: Supervised = Supervised()
    selection: Selection = Selection()
    devices: Devices = Devices()
    alerts: Alerts = Alerts()

    @model_validator(mode="after")
    def a_group_can_run_at_once(self) -> Self:
        if self.schedule.max_concurrent < self.schedule.group_size:
            raise ValueError("schedule.max_concurrent must hold one whole group")
        return self

    @model_validator(mode="after")
    def several_processes_can_do_it(self) -> Self:
        if self.devices.processes > 1 and self.supervises:
            raise ValueError("devices.processes is 1 in mid and sft: several processes are built for the RL stages")
        if self.devices.sharding == "fsdp2" and self.evaluation.perplexity_tokens:
            raise ValueError(
                "evaluation.perplexity_tokens is 0 with devices.sharding fsdp2: no rank has the whole model"
            )
        return self

    @model_validator(mode="after")
    def the_stage_has_what_it_trains_on(self) -> Self:
        if self.stage == "rl3" and (self.rollouts.kind == "prompt" or not self.evaluation.cases):
            raise ValueError("rl3 consults: rollouts.kind is fragment or consultation, evaluation.cases at least 1")
        if self.stage in ("rl1", "rl2") and self.rollouts.kind != "prompt":
            raise ValueError(f"rollouts.kind is prompt in {self.stage}")
        if self.data.pairs and self.stage != "sft":
            raise ValueError(f"data.pairs is empty in {self.stage}: supplied answers are for sft")
        if self.data.pairs and not self.evaluation.perplexity_tokens:
            raise ValueError("data.pairs needs evaluation.perplexity_tokens: what its held-out part is measured on")
        asks = self.stage in ("rl1", "rl2") or (self.stage == "sft" and (self.data.tasks or not self.data.pairs))
        if asks and not (self.data.tasks and self.evaluation.tasks):
            raise ValueError(f"{self.stage} needs data.tasks, and evaluation.tasks of them held out")
        if self.supervises and self.evaluation.every_steps:
            raise ValueError(f"evaluation.every_steps is 0 in {self.stage}: it is measured before and after")
        if self.stage == "mid" and not (self.data.medical and self.data.general and self.data.maths):
            raise ValueError("mid needs data.medical, data.general and data.maths")
        if self.stage not in ("mid", "sft") and not self.lora.rank:
            raise ValueError("lora.rank must be at least 1 in RL")
        return self

    @property
    def consults(self) -> bool:
        return self.stage == "rl3"

    @property
    def supervises(self) -> bool:
        return self.stage in ("mid", "sft")

    @property
    def trajectories_per_step(self) -> int:
        return self.schedule.groups_per_step * self.schedule.group_size

    @property
    def l_max(self) -> int:
        turns = self.rollouts.max_doctor_turns if self.rollouts.kind == "consultation" else 1
        return self.objective.l_max or self.sampling.max_tokens * turns


class UnknownPreset(Exception):
    """There is no preset of that name."""


class BadOverride(Exception):
    """One override has a wrong name or value; `name` says which."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(f"{name}: {description}")
        self.name = name
        self.description = description


def preset_names(stage: str = "") -> list[str]:
    return sorted(path.stem for path in _presets_of(stage).glob("*.toml"))


def _presets_of(stage: str) -> Path:
    """RL 3 is what a preset means that names no stage."""
    return PRESETS if stage in ("", "rl3") else PRESETS / stage


def resolve(preset: str, overrides: Mapping[str, str], stage: str = "", start_from: str = "") -> RunConfig:
    """The preset, of a stage if one is named, with each dotted override put in its place, validated as a whole."""
    if preset not in preset_names(stage):
        raise UnknownPreset(preset)
    tree = tomllib.loads((_presets_of(stage) / f"{preset}.toml").read_text(encoding="utf-8"))
    tree |= {"stage": stage or "rl3", "start_from": start_from}
    for name, text in sorted(overrides.items()):
        _put(tree, name, _toml_value(name, text))
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        blamed = (name for name in overrides if name.startswith(where) if where)
        mentioned = (name for name in overrides if name in detail["msg"] or (where and where.startswith(name)))
        name = next(blamed, None) or next(mentioned, None) or ", ".join(overrides)
        raise BadOverride(name, f"{where}: {detail['msg']}" if where else detail["msg"]) from error


def _toml_value(name: str, text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        raise BadOverride(name, f"{text!r} is no TOML value") from error
    if set(parsed) != {"value"}:
        raise BadOverride(name, f"{text!r} is more than one TOML value")
    return parsed["value"]


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    section, _, key = name.partition(".")
    if section not in RunConfig.model_fields or not key:
        raise BadOverride(name, f"no such setting; sections are {', '.join(RunConfig.model_fields)}")
    model = RunConfig.model_fields[section].annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel) and key in model.model_fields):
        raise BadOverride(name, "no such setting in this section")
    tree.setdefault(section, {})[key] = value
