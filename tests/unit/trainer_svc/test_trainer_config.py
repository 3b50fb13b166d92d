"""Presets are whole, overrides are refused by name."""

import pytest

from trainer_svc.config import BadOverride, UnknownPreset, preset_names, resolve


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_that_ships_is_valid(preset: str) -> None:
    config = resolve(preset, {})
    assert config.objective.epsilon_high > config.objective.epsilon_low
    assert config.l_max >= config.sampling.max_tokens


def test_the_presets_for_a_laptop_a_cluster_a_demo_and_tests_are_there() -> None:
    assert preset_names() == ["cluster", "demo", "laptop", "smoke"]


def test_the_demo_measures_24_held_out_consultations() -> None:
    evaluation = resolve("demo", {}).evaluation
    assert evaluation.cases * evaluation.personas >= 24


def test_an_override_has_the_type_of_its_setting() -> None:
    config = resolve(
        "demo", {"schedule.steps": "4", "rollouts.kind": '"consultation"', "objective.length_bonus": "true"}
    )
    assert (config.schedule.steps, config.rollouts.kind, config.objective.length_bonus) == (4, "consultation", True)
    assert config.l_max == config.sampling.max_tokens * config.rollouts.max_doctor_turns


@pytest.mark.parametrize(
    "name, value",
    [
        ("schedule.stepz", "1"),
        ("nonsense", "1"),
        ("nonsense.steps", "1"),
        ("schedule.steps.deep", "1"),
        ("schedule.steps", "0"),
        ("schedule.steps", '"four"'),
        ("schedule.steps", "four"),
        ("schedule.steps", "1\nother = 2"),
        ("sampling.temperature", "nan"),
        ("rollouts.kind", '"dream"'),
        ("schedule.max_concurrent", "1"),
        ("objective.epsilon_high", "0.1"),
        ("objective.mask_ratio", "1.1"),
        ("objective.kl_to_reference", "-0.1"),
        ("devices.processes", "0"),
        ("evaluation.every_steps", "-1"),
        ("devices.sharding", '"tensor"'),
    ],
)
def test_a_wrong_override_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(BadOverride) as refused:
        resolve("demo", {"sampling.max_tokens": "32", name: value})
    assert name.startswith(refused.value.name)


def test_a_stage_without_steps_of_rewards_is_not_measured_on_its_way() -> None:
    with pytest.raises(BadOverride, match=r"evaluation\.every_steps"):
        resolve("laptop", {"evaluation.every_steps": "2"}, "sft")


def test_an_unknown_preset_is_unknown() -> None:
    with pytest.raises(UnknownPreset):
        resolve("demo2", {})


def test_l_max_and_the_answers_own_length_cannot_both_divide() -> None:
    assert resolve("demo", {"objective.divide_by_length": "true"}).objective.divide_by_length
    with pytest.raises(BadOverride):
        resolve("demo", {"objective.divide_by_length": "true", "objective.l_max": "64"})


@pytest.mark.parametrize("stage, overrides", [
    ("sft", {"devices.processes": "2"}),
    ("rl2", {"devices.sharding": '"fsdp2"', "evaluation.perplexity_tokens": "1024"}),
])  # fmt: skip
def test_what_several_processes_cannot_do_is_refused(stage: str, overrides: dict[str, str]) -> None:
    with pytest.raises(BadOverride):
        resolve("smoke", overrides, stage)


PAIRS = {"data.pairs": '["pairs:rubrics.jsonl"]'}


def test_sft_learns_from_supplied_pairs_alone() -> None:
    config = resolve("laptop", PAIRS | {"data.tasks": "[]"}, "sft")
    assert (config.data.pairs, config.data.tasks) == (("pairs:rubrics.jsonl",), ())


@pytest.mark.parametrize("stage, overrides", [
    ("rl1", PAIRS),
    ("sft", PAIRS | {"evaluation.perplexity_tokens": "0"}),
    ("sft", PAIRS | {"evaluation.tasks": "0"}),
    ("sft", {"data.tasks": "[]"}),
])  # fmt: skip
def test_pairs_that_no_stage_learns_or_measures_are_refused(stage: str, overrides: dict[str, str]) -> None:
    with pytest.raises(BadOverride):
        resolve("laptop", overrides, stage)
