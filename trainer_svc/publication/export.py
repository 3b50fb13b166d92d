"""ExportModel: the newest published weights as a Hugging Face directory, the LoRA adapter beside them in PEFT's form.

Invariant: the directory is there whole or not at all. Needs no torch: tensors are copied as they are.
"""

import hashlib
import json
import shutil
import uuid
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from service_kit.errors import FailedPrecondition
from trainer_svc.config import Lora, RunConfig
from trainer_svc.records.runs import RunRecord
from trainer_svc.settings import TrainerSettings

WEIGHTS, ADAPTER = "model.safetensors", "adapter"


def export_model(settings: TrainerSettings, record: RunRecord, name: str) -> tuple[Path, tuple[str, int, int]]:
    """The directory, and the version that it holds."""
    config = RunConfig.model_validate_json(record.config)
    manifest = json.loads((settings.run_directory(record.run_id) / "published.json").read_text(encoding="utf-8"))
    base = settings.model_of(config.start_from)
    target = settings.export_store() / name
    if target.exists():
        raise FailedPrecondition("EXPORT_EXISTS", f"there is an export named {name}")
    temporary = target.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copytree(base, temporary, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf"))
        shutil.copyfile(settings.weight_store() / manifest["path"] / WEIGHTS, temporary / WEIGHTS)
        with (temporary / WEIGHTS).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"]:
                raise FailedPrecondition("WEIGHTS_DAMAGED", "the published weights do not match their digest")
        if config.lora.rank:
            write_adapter(temporary / ADAPTER, Path(record.checkpoint_path), config.lora, base)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target, (manifest["run_id"], manifest["incarnation"], manifest["step"])


def write_adapter(directory: Path, checkpoint: Path, lora: Lora, base: Path) -> None:
    """As PeftModel.from_pretrained reads it; it belongs on the model that the run started from."""
    with safe_open(checkpoint / "tensors.safetensors", framework="numpy") as file:
        tensors = {
            key.removeprefix("adapter/").replace(".default.", "."): file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118  (no mapping: it has no iterator)
            if key.startswith("adapter/")
        }
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in tensors})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": modules,
        "inference_mode": True,
    }
    (directory / "adapter_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
