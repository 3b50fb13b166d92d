"""A checkpoint that was trained here: the laptop's model after a short full-parameter fine-tuning.

The shipped base comes from 4-bit blocks, so its weights lie on a 4-bit grid and 4-bit rounding looks too good on it.
Once trained in float32, they lie off that grid.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

DIALOGUES = Path(__file__).parents[3] / "shared" / "data" / "mts-dialog"
STEPS = 40
BATCH = 2
LENGTH = 256
RATE = 3e-5


def read_dialogues(name: str, limit: int) -> list[str]:
    """Of MTS-Dialog (CC BY 4.0); empty where the data is not there."""
    file = DIALOGUES / f"MTS-Dialog-{name}Set.csv"
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        dialogues = [row["dialogue"] for row in csv.DictReader(lines)]
    # An empty line parts dialogues in a file.
    return ["\n".join(line for line in one.splitlines() if line.strip()) for one in dialogues][:limit]


def fine_tune(base: Path, target: Path, texts: Sequence[str], threads: int) -> None:
    """Next-token loss on `texts`; the directory is complete or absent."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = [token for text in texts for token in [*tokenizer(text).input_ids, tokenizer.eos_token_id]]
    block = BATCH * LENGTH
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    for step in range(STEPS):
        start = (step * block) % (len(ids) - block)
        batch = torch.tensor(ids[start : start + block]).view(BATCH, LENGTH)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0:
            print(f"fine-tuning: step {step} of {STEPS}, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        model.to(torch.bfloat16).save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        os.replace(scratch, target)
        Path(scratch).mkdir()
