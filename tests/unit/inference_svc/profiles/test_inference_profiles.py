"""Profiles are settings; what cannot be is refused by name before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inference_svc.profiles.possible import Machine, impossible
from inference_svc.profiles.profile import Profile, profiles
from inference_svc.settings import Deployment, InferenceSettings, Speculation
from service_kit.settings import WrongSettings, read_settings

CPU = Machine(gpus=0, fp8_cache=True)
OLD_CPU = Machine(gpus=0, fp8_cache=False)
GPU = Machine(gpus=1, fp8_cache=True)
MODEL = {
    "hidden_size": 64,
    "vocab_size": 1000,
    "num_hidden_layers": 4,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
}
HEAD = MODEL | {"draft_vocab_size": 200, "eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2, 3]}}
GPTQ = {"quant_method": "gptq", "bits": 4}
W8A8 = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 8}, "input_activations": {"num_bits": 8}}},
}


def directory(path: Path, config: dict[str, Any], **more: Any) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config | more))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return directory(tmp_path / "model", MODEL)


def refusals(machine: Machine, **settings: Any) -> str:
    return "\n".join(impossible(InferenceSettings(**settings), machine))


def test_every_profile_is_there_and_holds_settings_of_the_service_alone() -> None:
    assert set(profiles()) == set(Profile)
    for profile in Profile:
        assert set(profiles()[profile]) <= set(InferenceSettings.model_fields) - {"profile"}
        settings = InferenceSettings(profile=profile, draft_path="head" if profile is Profile.GPU_24GB else None)
        for name, value in profiles()[profile].items():
            assert str(getattr(settings, name)) == str(value), (profile, name)


def test_what_is_set_beside_a_profile_wins_and_without_one_nothing_changes() -> None:
    assert InferenceSettings(profile="latency", max_num_seqs=3).max_num_seqs == 3
    assert InferenceSettings(profile="latency").max_num_seqs != 3
    assert InferenceSettings().eager and InferenceSettings().speculation is Speculation.NONE


def test_the_environment_chooses_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_INFERENCE_PROFILE", "throughput")
    monkeypatch.setenv("ANAMNESIS_INFERENCE_MAX_NUM_SEQS", "7")
    settings = read_settings(InferenceSettings, "inference")
    assert (settings.eager, settings.max_num_seqs) == (False, 7)
    monkeypatch.setenv("ANAMNESIS_INFERENCE_PROFILE", "fast")
    with pytest.raises(WrongSettings, match="profile"):
        read_settings(InferenceSettings, "inference")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"speculation": "ngram"}, "speculation=ngram is impossible with deployment=policy and rollouts=true"),
        ({"kv_cache_dtype": "fp8"}, "kv_cache_dtype=fp8 is impossible with deployment=policy"),
        ({"weights": "w4a16", "rollouts": False}, "weights=w4a16 is impossible with deployment=policy"),
        ({"deployment": "frozen", "speculation": "eagle3"}, "speculation=eagle3 needs draft_path"),
        ({"deployment": "frozen", "draft_path": "head"}, "draft_path is set, but speculation=none"),
        ({"device": "cpu", "tensor_parallel": 2}, "tensor_parallel=2 is impossible with device=cpu"),
        ({"profile": "gpu-24gb"}, "speculation=eagle3 needs draft_path"),
        ({"profile": "gpu-24gb", "draft_path": "head", "deployment": "policy"}, "weights=w4a16 is impossible"),
        ({"profile": "latency", "rollouts": True}, "speculation=ngram is impossible"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        InferenceSettings(**settings)


def test_a_policy_without_rollouts_and_the_frozen_model_may_speculate() -> None:
    assert not InferenceSettings(rollouts=False, speculation="ngram").trains
    assert not InferenceSettings(deployment=Deployment.FROZEN, speculation="ngram").trains


@pytest.mark.parametrize(
    ("machine", "settings", "says"),
    [
        (CPU, {"device": "gpu"}, "device=gpu is impossible"),
        (GPU, {"device": "cpu"}, "device=cpu is impossible"),
        (CPU, {"tensor_parallel": 3}, "tensor_parallel=3 is impossible on a CPU"),
        (GPU, {"tensor_parallel": 3}, "tensor_parallel=3 is impossible on 1 GPUs"),
        (Machine(2, True), {"tensor_parallel": 2}, "impossible with 9 attention heads"),
        (OLD_CPU, {"deployment": "frozen", "kv_cache_dtype": "fp8"}, "kv_cache_dtype=fp8 is impossible on a CPU"),
        (CPU, {"block_size": 48}, "block_size=48"),
        (CPU, {"max_model_len": 9000}, "max_model_len=9000 is impossible"),
        (CPU, {"deployment": "frozen", "weights": "w4a16"}, "weights=w4a16 is impossible: .* holds plain"),
        (CPU, {"model_path": "/nowhere"}, r"model_path is impossible: /nowhere/config\.json"),
    ],
)
def test_what_this_machine_or_model_cannot_do_is_refused(
    model: Path, machine: Machine, settings: dict[str, Any], says: str
) -> None:

    found = refusals(machine, **{"model_path": model, **settings})
    assert re.search(says, found), found


def test_a_laptop_s_defaults_and_every_profile_are_possible_where_they_belong(tmp_path: Path, model: Path) -> None:
    for profile in ("latency", "throughput", "cpu"):
        assert refusals(CPU, model_path=model, profile=profile) == ""
    assert refusals(CPU, model_path=model) == ""
    quantized = directory(tmp_path / "w4a16", MODEL, quantization_config=GPTQ)
    head = directory(tmp_path / "head", HEAD)
    assert refusals(GPU, model_path=quantized, draft_path=head, profile="gpu-24gb") == ""
    assert "device=gpu" in refusals(CPU, model_path=quantized, draft_path=head, profile="gpu-24gb")


@pytest.mark.parametrize(("quantization", "holds"), [(GPTQ, "w4a16"), (W8A8, "w8a8"), ({"quant_method": "x"}, "x")])
def test_quantized_weights_are_refused_where_updates_come(
    tmp_path: Path, quantization: dict[str, Any], holds: str
) -> None:
    path = directory(tmp_path / "quantized", MODEL, quantization_config=quantization)
    assert f"holds {holds} weights, and updates bring plain ones" in refusals(CPU, model_path=path)
    assert refusals(CPU, model_path=path, deployment="frozen") == ""


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (HEAD | {"hidden_size": 32}, "its hidden size is 32, the model's 64"),
        (HEAD | {"vocab_size": 999}, "its vocabulary has 999 tokens, the model's 1000"),
        (HEAD | {"draft_vocab_size": 2000}, "draft vocabulary of 2000 is larger"),
        (HEAD | {"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2, 30]}}, "reads layer 30"),
        (MODEL, "is no EAGLE-3 head"),
        ({}, "is no model's configuration"),
    ],
)
def test_a_head_for_another_model_is_refused(tmp_path: Path, model: Path, head: dict[str, Any], says: str) -> None:
    path = directory(tmp_path / "head", head)
    settings = {"model_path": model, "deployment": "frozen", "speculation": "eagle3"}
    assert says in refusals(CPU, draft_path=path, **settings)
    assert refusals(CPU, draft_path=directory(tmp_path / "fits", HEAD), **settings) == ""
