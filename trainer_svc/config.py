"""What a run does: a TOML preset changed by dotted overrides, refused as a whole when one name or value is wrong."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PRESETS = Path(__file__).parent / "presets"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(Section):
    steps: int = Field(ge=1)
    groups_per_step: int = Field(ge=1)
    # G: samples of one group.
    group_size: int = Field(ge=2, le=1024)
    # η: the greatest staleness in versions.
    max_staleness: int = Field(default=1, ge=0)
    max_concurrent: int = Field(default=64, ge=1)
    group_timeout_seconds: float = Field(default=600.0, gt=0)
    request_ttl_seconds: float = Field(default=1800.0, gt=0)


class Rollouts(Section):
    kind: Literal["fragment", "consultation"] = "fragment"
    max_doctor_turns: int = Field(default=3, ge=1, le=64)
    # Consultations on training cases that are sliced into fragments.
    context_consultations: int = Field(default=8, ge=1)


class Sampling(Section):
    # top_p and top_k stay off: a truncated distribution's log-probs are not the policy's.
    temperature: float = Field(default=1.0, gt=0, le=5)
    max_tokens: int = Field(ge=1)


class Evaluation(Section):
    """Held-out consultations: cases x personas, the same before and after."""

    cases: int = Field(ge=1)
    personas: int = Field(ge=1)
    max_doctor_turns: int = Field(default=3, ge=1, le=64)


class Lora(Section):
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)


class Optimizer(Section):
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    # Tokens of one packed forward pass over several groups, trained ones counted twice; gradients are accumulated over
    # the passes of a step.
    pack_tokens: int = Field(default=4096, ge=64)


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


class RunConfig(Section):
    schedule: Schedule
    rollouts: Rollouts = Rollouts()
    sampling: Sampling
    evaluation: Evaluation
    lora: Lora = Lora()
    optimizer: Optimizer
    objective: Objective = Objective()

    @model_validator(mode="after")
    def a_group_can_run_at_once(self) -> Self:
        if self.schedule.max_concurrent < self.schedule.group_size:
            raise ValueError("schedule.max_concurrent must hold one whole group")
        return self

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


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def resolve(preset: str, overrides: Mapping[str, str]) -> RunConfig:
    """The preset with each dotted override put in its place and everything validated again."""
    if preset not in preset_names():
        raise UnknownPreset(preset)
    tree = tomllib.loads((PRESETS / f"{preset}.toml").read_text(encoding="utf-8"))
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
