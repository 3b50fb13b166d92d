"""What a model answers to general prompts, as a probe of what training does to its own behaviour.

The answers are sampled at temperature 1 before training, and their perplexity is taken with the prompt given. After
over before, that is e to the KL from the behaviour that was to the one that is, estimated on samples of the former: 1
for a model that answers as it did. Unlike the perplexity of prose, it does not fall because a model reads prose better.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from trainer_svc.figures.perplexity import Probe
from trainer_svc.stages.corpus import GSM8K, IFEVAL
from trainer_svc.stages.sources import read_tasks

# Prompts that are answered together.
BATCH = 8


def general_prompts(data: Path, held_out_percent: int, count: int) -> list[str]:
    """Of each `count` held-out ones: instructions and sums, which no stage trains on."""
    return [
        task.prompt
        for source in (IFEVAL, GSM8K)
        for task in read_tasks(data, (source,), held_out_percent).held_out[:count]
    ]


def own_answers(model: Any, tokenizer: Any, prompts: list[str], max_tokens: int, seed: int) -> list[Probe]:
    """One answer to each prompt in the chat's form, with its end where it has one."""
    torch.manual_seed(seed)
    was_training = model.training
    model.eval()
    probes: list[Probe] = []
    for start in range(0, len(prompts), BATCH):
        given = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=False
            )
            for prompt in prompts[start : start + BATCH]
        ]
        longest = max(map(len, given))
        end = tokenizer.eos_token_id
        ids = torch.tensor([[end] * (longest - len(row)) + row for row in given])
        seen = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in given])
        with torch.inference_mode():
            sampled = model.generate(
                input_ids=ids,
                attention_mask=seen,
                max_new_tokens=max_tokens,
                do_sample=True,
                temperature=1.0,
                top_p=1.0,
                top_k=0,
                eos_token_id=end,
                pad_token_id=end,
            )
        for row, answer in zip(given, sampled[:, longest:].tolist(), strict=True):
            length = answer.index(end) + 1 if end in answer else len(answer)
            probes.append(Probe([*row, *answer[:length]], len(row)))
    model.train(was_training)
    return probes
