"""`anamnesis quantize`, from a model directory to a smaller one and a report that compares the two.

Invariant: refusals come first; the output directory is complete (with its report) or absent; the original is untouched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_svc.draft.run import DraftRun, answers_of
from inference_svc.engine.environment import configure_environment
from inference_svc.prepare import complete_or_absent
from inference_svc.quantize.compare import (
    QuantizationReport,
    agreement,
    as_json,
    divergence,
    markdown,
    perplexity,
    speeds,
    weight_bytes,
)
from inference_svc.quantize.recipes import GROUP, ModelShape, Recipe, refuse_unserved, this_machine
from inference_svc.quantize.texts import calibration_blocks, read_dialogues, split
from inference_svc.settings import InferenceSettings

TOOL = Path(__file__).parent / "tool.py"
# Held-out answers that are measured on; dialogues all are.
HELD_OUT_ANSWERS = 24


class ToolMissing(Exception):
    """The quantization tools' environment is not there."""


class ToolFailed(Exception):
    """A tool or a measurement ended badly; its output is above."""


@dataclass(frozen=True)
class QuantizeRun:
    recipe: Recipe
    model: Path
    output: Path
    # The model's own answers: generated once, shared with `draft train`.
    work_folder: Path
    dialogues: Path
    # Instead of the built-in split: text that is measured on.
    held_out: Path | None = None
    environment: Path = Path(".venv-quantize")
    answers: int = 200
    blocks: int = 128
    block_length: int = 256
    # AutoRound's steps a layer.
    iterations: int = 200
    threads: int = 2
    seed: int = 0
    # For a machine other than this one: neither refused nor measured.
    elsewhere: bool = False


def quantize(run: QuantizeRun, report: Callable[[str], None]) -> QuantizationReport | None:
    """None where the model is for another machine: this one cannot measure it."""
    config = json.loads((run.model / "config.json").read_text(encoding="utf-8"))
    if not run.elsewhere:
        refuse_unserved(run.recipe, this_machine(), ModelShape(config["hidden_size"], config["intermediate_size"]))
    python = run.environment / "bin" / "python"
    if not python.is_file():
        raise ToolMissing(f"{python} is missing: make quantize-tools sets the tools up")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.model)
    report("the model's own answers")
    answers = answers_of(
        DraftRun(run.model, run.work_folder, run.output, answers=run.answers, threads=run.threads, seed=run.seed),
        lambda done, of: report(f"  {done} of {of}"),
    )
    calibrating, held_out = split(read_dialogues(run.dialogues))
    if run.held_out is not None:
        calibrating, held_out = calibrating + held_out, read_dialogues(run.held_out)
    blocks = calibration_blocks(calibrating, answers, tokenizer, run.blocks, run.block_length, run.seed)
    with complete_or_absent(run.output) as directory, tempfile.TemporaryDirectory() as scratch:
        began = time.monotonic()
        report(f"{run.recipe}: calibrating on {len(blocks)} blocks of {run.block_length} tokens")
        _run_tool(run, python, directory, blocks, Path(scratch))
        seconds = time.monotonic() - began
        if run.elsewhere:
            report(f"{run.recipe}: made in {seconds:.0f} s; not measured, as it is for another machine")
            return None
        texts = [tokenizer(dialogue).input_ids for dialogue in held_out]
        texts += [[*one.prompt_ids, *one.token_ids] for one in answers if one.held_out][:HELD_OUT_ANSWERS]
        prompts = [one.prompt_ids for one in answers][:32]
        report(f"measuring both on {sum(map(len, texts))} held-out tokens")
        before = _measure(run, run.model, texts, prompts, Path(scratch) / "original.safetensors")
        after = _measure(run, directory, texts, prompts, Path(scratch) / "quantized.safetensors")
        result = _compared(run, directory, blocks, seconds, before, after)
        (directory / "report.json").write_text(json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8")
        (directory / "report.md").write_text(markdown(result), encoding="utf-8")
    return result


def _run_tool(run: QuantizeRun, python: Path, output: Path, blocks: list[list[int]], scratch: Path) -> None:
    calibration = scratch / "calibration.json"
    calibration.write_text(json.dumps(blocks), encoding="utf-8")
    job = {
        "recipe": run.recipe.value,
        "model": str(run.model.resolve()),
        "output": str(output.resolve()),
        "calibration": str(calibration),
        "iterations": run.iterations,
        "group": GROUP,
        "threads": run.threads,
        "seed": run.seed,
    }
    file = scratch / "job.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    # Not the project's own environment or preloaded libraries; a tool writes its logs where it is started.
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(run.threads)}
    _call([str(python.absolute()), str(TOOL), str(file)], environment, "the quantization tool", scratch)


def _measure(
    run: QuantizeRun, model: Path, texts: Sequence[list[int]], prompts: Sequence[list[int]], output: Path
) -> dict[str, Any]:
    from safetensors.numpy import load_file

    from inference_svc.engine.arguments import engine_dtype

    environment = dict(os.environ)
    configure_environment(InferenceSettings(threads=run.threads), environment)
    job = {
        "model": str(model),
        "dtype": engine_dtype("auto", not this_machine().cuda),
        "texts": texts,
        "prompts": prompts,
        "output": str(output),
    }
    file = output.with_suffix(".json")
    file.write_text(json.dumps(job), encoding="utf-8")
    _call([sys.executable, "-m", "inference_svc.quantize.measure", str(file)], environment, f"measuring {model.name}")
    measured: dict[str, Any] = load_file(output)
    return measured


def _compared(
    run: QuantizeRun, directory: Path, blocks: list[list[int]], seconds: float, before: Any, after: Any
) -> QuantizationReport:
    original, quantized = perplexity(before["own"]), perplexity(after["own"])
    return QuantizationReport(
        recipe=run.recipe.value,
        model=run.model.name,
        calibration_tokens=sum(map(len, blocks)),
        held_out_tokens=len(before["own"]),
        seconds=round(seconds, 1),
        bytes_original=weight_bytes(run.model),
        bytes_quantized=weight_bytes(directory),
        perplexity_original=original,
        perplexity_quantized=quantized,
        perplexity_ratio=quantized / original,
        divergence=divergence(before["top_ids"], before["top"], after["top_ids"], after["top"]),
        greedy_agreement=agreement(before["top_ids"], after["top_ids"]),
        speed_original=speeds(before),
        speed_quantized=speeds(after),
    )


def _call(command: list[str], environment: dict[str, str], what: str, folder: Path | None = None) -> None:
    if subprocess.run(command, env=environment, cwd=folder, check=False).returncode:
        raise ToolFailed(f"{what} failed; its own words are above")
