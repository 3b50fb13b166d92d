"""Mid-training with and without the KL to the frozen reference, on the same rows, in this process.

Three probes, each after over before: perplexity of held-out medical texts, of plain prose (Shakespeare, of which no
line was trained on), and of the base model's own answers to held-out general prompts, which is what the KL is to
protect. An instruct model gains on prose from any plain text, so prose alone does not show it. Both runs begin at the
same model and see the same rows.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.benchmarks.own_answers import general_prompts, own_answers
from trainer_svc.config import resolve
from trainer_svc.figures.perplexity import perplexities
from trainer_svc.learner.supervised import SupervisedEngine
from trainer_svc.settings import TrainerSettings
from trainer_svc.stages.corpus import read_corpus

SEED = 1


# Of each kind, and tokens of an answer.
PROMPTS, ANSWER_TOKENS = 16, 64
PROSE, OWN_ANSWERS, MEDICAL = "general", "own_answers", "medical"


def ratios(kl_weights: Sequence[float], overrides: dict[str, str]) -> dict[float, dict[str, float]]:
    """After over before, by probe, for each weight of the KL."""
    settings = TrainerSettings()
    torch.set_num_threads(settings.threads)
    tokenizer = AutoTokenizer.from_pretrained(settings.model_path())
    config = resolve("laptop", overrides, "mid")
    corpus = read_corpus(settings.data, config, tokenizer, print)
    length = config.supervised.row_tokens
    probes = corpus.probe(length, config.evaluation.perplexity_tokens)
    base = AutoModelForCausalLM.from_pretrained(settings.model_path(), dtype=torch.float32)
    prompts = general_prompts(settings.data, config.data.held_out_percent, PROMPTS)
    probes[OWN_ANSWERS] = own_answers(base, tokenizer, prompts, ANSWER_TOKENS, SEED)
    rows = corpus.rows(length, config.schedule.steps * config.supervised.rows_per_step, SEED)
    for name, of_name in probes.items():
        print(f"{name}: {sum(len(probe.token_ids) - probe.given for probe in of_name)} tokens")
    before = perplexities(base, probes)
    found = {}
    for weight in kl_weights:
        held = resolve("laptop", overrides | {"supervised.kl_weight": str(weight)}, "mid")
        with tempfile.TemporaryDirectory() as scratch:
            engine = SupervisedEngine(held, copy.deepcopy(base), tokenizer, SEED, Path(scratch))
            engine.train(rows, lambda result: None)
            after = perplexities(engine.trainer.model, probes)
        found[weight] = {name: after[name] / before[name] for name in before}
    return found


def table(found: Mapping[float, Mapping[str, float]]) -> Table:
    names = list(next(iter(found.values())))
    shown = Table("weight of the KL", *names, title="perplexity, after over before")
    for weight, of_weight in found.items():
        shown.add_row(f"{weight:g}", *(f"{of_weight[name]:.3f}" for name in names))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kl-weights", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    found = ratios(arguments.kl_weights, dict(item.split("=", 1) for item in arguments.set))
    console = Console()
    console.print(table(found))
    console.print(f"figures: {json.dumps(found)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
