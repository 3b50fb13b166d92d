"""An adapter that PEFT wrote, merged: the same model as PEFT makes of it; what does not fit is refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from inference_svc.weights.adapters import ADAPTER, ADAPTER_CONFIG
from inference_svc.weights.store import Announced, Format, WeightStore
from inference_svc.weights.versions import Version
from service_kit.errors import FailedPrecondition
from tests.tiny_llama import save_tiny_model

BASE = "tiny"
TOKENS = torch.arange(2, 20).unsqueeze(0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / BASE)


@pytest.fixture
def store(tmp_path: Path, base: Path) -> WeightStore:
    (tmp_path / "weights").mkdir()
    return WeightStore(tmp_path / "weights", base, "served-as", tmp_path / "merged")


def adapter(base: Path, directory: Path, *, rslora: bool = False, seed: int = 3) -> str:
    """As a training would leave it; returns the digest."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=False, use_rslora=rslora
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), config).save_pretrained(str(directory))
    return digest(directory)


def digest(directory: Path) -> str:
    return hashlib.sha256((directory / ADAPTER).read_bytes()).hexdigest()


def announced(digest: str, path: str = "run/0-1") -> Announced:
    return Announced(Version("run", 0, 1), path, digest, Format.LORA)


def change(directory: Path, **fields: Any) -> None:
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config | fields))


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model.eval()(TOKENS).logits
    return result


@pytest.mark.parametrize("rslora", [False, True])
def test_the_merged_model_is_peft_s_own(base: Path, store: WeightStore, tmp_path: Path, rslora: bool) -> None:
    directory = tmp_path / "weights/run/0-1"
    merged = store.checked(announced(adapter(base, directory, rslora=rslora)))
    expected = logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base)), str(directory)))
    model = AutoModelForCausalLM.from_pretrained(str(base))
    untouched = logits(model)
    model.load_state_dict(load_file(merged / "model.safetensors"), strict=False)
    assert torch.allclose(logits(model), expected, atol=1e-5)
    assert not torch.allclose(untouched, expected, atol=1e-2)


def test_each_adapter_is_merged_into_the_base_and_only_what_is_served_stays(
    base: Path, store: WeightStore, tmp_path: Path
) -> None:
    first = store.checked(announced(adapter(base, tmp_path / "weights/run/0-1")))
    kept = load_file(first / "model.safetensors")
    second = store.checked(announced(adapter(base, tmp_path / "weights/run/0-2", seed=4), "run/0-2"))
    again = store.checked(announced(adapter(base, tmp_path / "weights/run/0-1")))
    assert again == first != second
    assert all(torch.equal(kept[name], value) for name, value in load_file(again / "model.safetensors").items())
    store.serves(second)
    assert [path.name for path in (tmp_path / "merged").iterdir()] == [second.name]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"base_model_name_or_path": "/models/another-base"}, "made for another-base"),
        ({"base_model_name_or_path": None}, "no base that it names"),
        ({"r": 8}, r"is \[4, \d+\], rank 8"),
        ({"r": 0}, "rank 0"),
        ({"peft_type": "IA3"}, "type IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    base: Path, store: WeightStore, tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    directory = tmp_path / "weights/run/0-1"
    digest = adapter(base, directory)
    change(directory, **fields)
    with pytest.raises(FailedPrecondition, match=says) as refused:
        store.checked(announced(digest))
    assert refused.value.reason == "ADAPTER_DOES_NOT_FIT"
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("fault", ["half a pair", "wrong shape", "unknown module", "no tensors"])
def test_matrices_that_do_not_fit_are_refused(base: Path, store: WeightStore, tmp_path: Path, fault: str) -> None:
    directory = tmp_path / "weights/run/0-1"
    adapter(base, directory)
    tensors = load_file(directory / ADAPTER)
    name = min(tensors)
    match fault:
        case "half a pair":
            del tensors[name]
        case "wrong shape":
            tensors[name] = tensors[name][:, :-1].contiguous()
        case "unknown module":
            tensors = {key.replace("layers.0", "layers.9"): value for key, value in tensors.items()}
        case "no tensors":
            tensors = {}
    save_file(tensors, directory / ADAPTER)
    with pytest.raises(FailedPrecondition) as refused:
        store.checked(announced(digest(directory)))
    assert refused.value.reason == "ADAPTER_DOES_NOT_FIT"


def test_the_digest_is_that_of_the_adapter_and_full_weights_beside_it_are_foreign(
    base: Path, store: WeightStore, tmp_path: Path
) -> None:
    directory = tmp_path / "weights/run/0-1"
    right = adapter(base, directory)
    with pytest.raises(FailedPrecondition, match="sha256"):
        store.checked(announced("0" * 64))
    (directory / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    with pytest.raises(Exception, match=r"holds more than adapter_model\.safetensors"):
        store.checked(announced(right))
