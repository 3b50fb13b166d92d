"""A run's published weights as a Hugging Face directory, with its LoRA adapter beside them, without torch.

Invariant: the directory is there whole or not at all, and model and adapter are of one step: `adapter/` loads with PEFT
onto the model that the run started from.
"""

import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save_file

from service_kit.errors import FailedPrecondition
from trainer_svc.config import RunConfig
from trainer_svc.records.runs import RunRecord
from trainer_svc.settings import TrainerSettings

WEIGHTS = "model.safetensors"
ADAPTER_PREFIX = "adapter/"


def export_model(settings: TrainerSettings, record: RunRecord, name: str) -> tuple[Path, tuple[str, int, int]]:
    """Copies weights that were already merged and published. Raises FailedPrecondition."""
    run, config = settings.run_directory(record.run_id), RunConfig.model_validate_json(record.config)
    manifest = json.loads((run / "published.json").read_text(encoding="utf-8"))
    target = settings.export_store() / name
    if target.exists():
        raise FailedPrecondition("EXPORT_EXISTS", f"there is an export named {name}")
    base = settings.model_of(config.start_from)
    temporary = target.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copytree(base, temporary, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf"))
        shutil.copyfile(settings.weight_store() / manifest["path"] / WEIGHTS, temporary / WEIGHTS)
        with (temporary / WEIGHTS).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"]:
                raise FailedPrecondition("WEIGHTS_DAMAGED", "the published weights do not match their digest")
        if config.lora.rank:
            checkpoint = _checkpoint_of(run / "checkpoints", manifest["step"])
            _write_adapter(checkpoint / "tensors.safetensors", temporary / "adapter", config, base)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target, (manifest["run_id"], manifest["incarnation"], manifest["step"])


def _checkpoint_of(checkpoints: Path, step: int) -> Path:
    """The newest checkpoint of that step, digests checked: between a checkpoint and its publication there is none."""
    for path in sorted((path for path in checkpoints.iterdir() if path.name.isdigit()), reverse=True):
        try:
            digests = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            if json.loads((path / "state.json").read_text(encoding="utf-8"))["journal"]["step"] != step:
                continue
            with (path / "tensors.safetensors").open("rb") as file:
                if digests["tensors.safetensors"] == hashlib.file_digest(file, "sha256").hexdigest():
                    return path
        except (OSError, ValueError, KeyError):
            continue  # torn, or removed by the run meanwhile
    raise FailedPrecondition("NO_CHECKPOINT", f"there is no whole checkpoint of the published step {step}: ask again")


def _write_adapter(tensors: Path, directory: Path, config: RunConfig, base: Path) -> None:
    """PEFT's own two files; it keeps the adapter's name out of the tensors' names."""
    directory.mkdir()
    with safe_open(tensors, framework="np") as file:
        names = [name for name in file.keys() if name.startswith(ADAPTER_PREFIX)]  # noqa: SIM118
        adapter = {
            name.removeprefix(ADAPTER_PREFIX).replace(".default.weight", ".weight"): file.get_tensor(name)
            for name in names
        }
    save_file(adapter, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": config.lora.rank,
        "lora_alpha": config.lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": sorted({name.split(".lora_")[0].rpartition(".")[2] for name in adapter}),
    }
    (directory / "adapter_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
