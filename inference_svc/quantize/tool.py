"""Runs the maintained quantization tools, in their own environment (.venv-quantize).

Invariant: imports nothing of this project: the environment has llm-compressor, auto-round and torch, and no more. It
gets a JSON job and writes into the job's output directory alone.

    .venv-quantize/bin/python inference_svc/quantize/tool.py job.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# How much of the activations' outliers goes into the weights (Xiao et al. 2022, arXiv:2211.10438).
SMOOTHING = 0.5


def main(job: dict[str, Any]) -> None:
    torch.manual_seed(job["seed"])
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    # Blocks of one length: no padding, so every token calibrates.
    blocks = torch.tensor(json.loads(Path(job["calibration"]).read_text(encoding="utf-8")))
    if job["recipe"] == "w4a16":
        auto_round(job, tokenizer, blocks)
    else:
        model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16)
        compress(job, model, blocks)
        model.save_pretrained(job["output"], save_compressed=True)
        tokenizer.save_pretrained(job["output"])


def compress(job: dict[str, Any], model: Any, blocks: torch.Tensor) -> None:
    """llm-compressor: 8 bits by rounding, after outliers were moved from the activations into the weights; 4 bits by
    GPTQ, after a rotation that spreads outliers over all dimensions.
    """
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform import SmoothQuantModifier, SpinQuantModifier

    if job["recipe"] == "w8a8":
        # A scale a channel; GPTQ took eight times as long here and was no better. An output matrix in 8 bits gained no
        # speed on a CPU and cost 0.7 % of perplexity.
        rounding = QuantizationModifier(targets=["Linear"], scheme="W8A8", ignore=["lm_head"])
        steps = [SmoothQuantModifier(smoothing_strength=SMOOTHING), rounding]
    else:
        # The plain Hadamard matrix exists for powers of two alone; a random one does for every size it can build.
        rotation = SpinQuantModifier(rotations=["R1", "R2"], transform_type="random-hadamard")
        steps = [rotation, GPTQModifier(targets="Linear", ignore=["lm_head"], config_groups=w4a8(job["group"]))]
    dataset = Dataset.from_dict({"input_ids": blocks.tolist(), "attention_mask": torch.ones_like(blocks).tolist()})
    oneshot(
        model=model,
        dataset=dataset,
        recipe=steps,
        max_seq_length=blocks.shape[1],
        num_calibration_samples=len(blocks),
    )


def w4a8(group: int) -> dict[str, Any]:
    return {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": group},
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    }


def auto_round(job: dict[str, Any], tokenizer: Any, blocks: torch.Tensor) -> None:
    """AutoRound (Cheng et al. 2023, arXiv:2309.05516): rounding and clipping learned by signed gradient descent."""
    from auto_round import AutoRound

    rounding = AutoRound(
        job["model"],
        tokenizer=tokenizer,
        scheme="W4A16",
        group_size=job["group"],
        sym=True,
        iters=job["iterations"],
        nsamples=len(blocks),
        seqlen=blocks.shape[1],
        batch_size=4,
        dataset=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(blocks), batch_size=4),
        device_map="cpu",
        seed=job["seed"],
    )
    rounding.quantize_and_save(job["output"], format="auto_gptq")
    # It writes into a folder of its own name.
    output = Path(job["output"])
    for folder in [path for path in output.iterdir() if path.is_dir()]:
        for file in folder.iterdir():
            file.rename(output / file.name)
        folder.rmdir()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
