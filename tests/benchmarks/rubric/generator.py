"""A generator of rubrics before and after SFT on exported ones, measured on the cases that the export leaves out.

The shipped base learns from `rubrics export`'s pairs, as the trainer's SFT stage does it; both write greedily under the
service's JSON schema. What is generated is measured against the rubric that the export would teach for the case:
agreement is the report's (same dimension or same intent), intent the share with the intent of one of its criteria. The
last row is what copying the answer of some training case is worth: what lies above it is said of this patient.
No part of `make bench-rubric`, whose time it would take: `python -m tests.benchmarks.rubric.generator`. With `--models`
it trains nothing and measures model directories beside the base: those of runs, of SFT and of RL after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xgrammar
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer
from xgrammar.contrib.hf import LogitsProcessor

from rubric_svc.case_store import CaseStore
from rubric_svc.generate.dataset import Example, example
from rubric_svc.generate.templates import built_in
from rubric_svc.generate.written import SCHEMA, TOKENS, NoRubric, answer_of, criteria_of
from rubric_svc.model import Rubric
from rubric_svc.rubric_agreement import RubricAgreement, rubric_agreement
from rubric_svc.rubric_score import score_rubric
from trainer_svc.config import RunConfig, resolve
from trainer_svc.learner.supervised import Row, SupervisedEngine, SupervisedResult
from trainer_svc.stages.corpus import Corpus, read_corpus
from trainer_svc.stages.embedding import Embedder
from trainer_svc.stages.pairs import encode, that_fit
from trainer_svc.stages.sft import in_turn, labelled

CASES = Path("simulator_svc/cases/data")
MODELS = Path(".anamnesis/models")
BASE = MODELS / "smollm2-135m-instruct"
SEEDS, SEED, BATCH = 4, 0, 11
TOLD_STEPS = 6
SETTINGS = {
    "data.pairs": '["pairs:rubrics.jsonl"]',
    "data.tasks": "[]",
    "data.held_out_percent": "1",
    "data.medical": "[]",
    "data.general_probe": "[]",
    "supervised.row_tokens": "1536",
    "supervised.rows_per_step": "2",
    "schedule.steps": "72",
    "optimizer.learning_rate": "1e-3",
}


@dataclass(frozen=True)
class Frozen:
    """rubric_svc's Embedder over the same sentence model, in this process."""

    embedder: Embedder

    async def embed(self, texts: Sequence[str], limit_seconds: float) -> list[list[float]]:
        vectors: list[list[float]] = self.embedder.embed(texts).tolist()
        return vectors


@dataclass(frozen=True)
class Generated:
    """Means over cases; what could not be read counts as agreeing in nothing."""

    read: int
    agreement: float
    intent: float
    reward: float


def examples(split: str, seeds: int) -> list[Example]:
    store, templates = CaseStore(CASES), built_in()
    return [
        example(store.get(case_id), seed, templates, model_criteria=4)
        for case_id in store.names(split=split)
        for seed in range(seeds)
    ]


def write(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """Greedily, under the schema."""
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=model.config.vocab_size)
    grammar = xgrammar.GrammarCompiler(info).compile_json_schema(SCHEMA, any_whitespace=False)
    texts = []
    for start in range(0, len(prompts), BATCH):
        given = [encode(prompt, "", tokenizer) for prompt in prompts[start : start + BATCH]]
        rows = [one.token_ids[: one.given] for one in given]
        longest = max(len(row) for row in rows)
        end = tokenizer.eos_token_id
        with torch.inference_mode():
            ids = model.generate(
                input_ids=torch.tensor([[end] * (longest - len(row)) + row for row in rows]),
                attention_mask=torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
                max_new_tokens=TOKENS,
                do_sample=False,
                pad_token_id=end,
                logits_processor=[LogitsProcessor(grammar)],
            )
        texts += tokenizer.batch_decode(ids[:, longest:], skip_special_tokens=True)
    return texts


async def measured(texts: Sequence[str], wanted: Sequence[Example], embedder: Frozen) -> Generated:
    read, found = 0, list[RubricAgreement]()
    rewards = []
    for text, one in zip(texts, wanted, strict=True):
        expert = Rubric(one.source_id, one.criteria)
        rewards.append((await score_rubric(text, expert, embedder, 60.0)).value)
        try:
            criteria = criteria_of(text)
        except NoRubric:
            continue
        read += 1
        found.append(await rubric_agreement(Rubric("written", criteria), expert, embedder, 60.0))
    count = len(texts)
    return Generated(
        read,
        sum(one.agreement for one in found) / count,
        sum(one.same_intent for one in found) / count,
        statistics.fmean(rewards),
    )


def train(engine: SupervisedEngine, corpus: Corpus, config: RunConfig, console: Console) -> None:
    fit = that_fit(corpus.pairs.train, corpus.tokenizer, config.supervised.row_tokens)
    rows = [Row(one.token_ids, labelled(one.token_ids, one.given)) for _, one in fit]
    losses: list[float] = []

    def told(result: SupervisedResult) -> None:
        losses.append(result.nll)
        if len(losses) % TOLD_STEPS == 0:
            console.print(f"step {len(losses)} of {config.schedule.steps}: loss {result.nll:.2f}")

    engine.train(in_turn(rows, config.schedule.steps * config.supervised.rows_per_step, SEED), told)
    console.print(f"{len(rows)} pairs; loss of the first three steps and the last: {losses[:3]}, {losses[-3:]}")


def loaded(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa").eval()


def another_case(count: int) -> list[str]:
    """The answers of some training cases, for as many held-out ones."""
    taught = examples("train", 1)
    return [answer_of(taught[place].criteria) for place in range(count)]


def compared(
    title: str, texts: dict[str, list[str]], held_out: Sequence[Example], console: Console
) -> dict[str, Generated]:
    embedder = Frozen(Embedder(MODELS / "all-minilm-l6-v2"))
    table = Table(title=title)
    for column in ("generator", "read", "agreement", "intent", "reward"):
        table.add_column(column, justify="left" if column == "generator" else "right")
    found = {name: asyncio.run(measured(said, held_out, embedder)) for name, said in texts.items()}
    for name, one in found.items():
        table.add_row(name, str(one.read), f"{one.agreement:.3f}", f"{one.intent:.3f}", f"{one.reward:.3f}")
    console.print(table)
    for name, said in texts.items():
        console.print(f"{name}: {said[0]}", markup=False)
    return found


def trained_here(console: Console) -> dict[str, float]:
    held_out, taught = examples("held_out", 1), examples("train", SEEDS)
    tokenizer, model = AutoTokenizer.from_pretrained(BASE), loaded(BASE)
    prompts = [one.prompt for one in held_out]
    texts = {"before": write(model, tokenizer, prompts)}
    config = resolve("laptop", SETTINGS, "sft")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        lines = [json.dumps(one.pair()) for one in taught]
        (Path(scratch) / "rubrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
        corpus = read_corpus(Path(scratch), config, tokenizer, console.print)
        engine = SupervisedEngine(config, model, tokenizer, SEED, Path(scratch))
        train(engine, corpus, config, console)
    seconds = time.monotonic() - began
    texts["after"] = write(engine.trainer.model.eval(), tokenizer, prompts)
    texts["copied"] = another_case(len(held_out))
    title = f"{len(held_out)} held-out cases, SFT of {config.schedule.steps} steps in {seconds:.0f} s"
    return figures(compared(title, texts, held_out, console))


def of_models(directories: Sequence[Path], console: Console) -> dict[str, float]:
    held_out = examples("held_out", 1)
    tokenizer, prompts = AutoTokenizer.from_pretrained(BASE), [one.prompt for one in held_out]
    texts = {}
    for directory in (BASE, *directories):
        console.print(f"{directory} writes {len(prompts)} rubrics", highlight=False)
        texts[str(directory)] = write(loaded(directory), tokenizer, prompts)
    texts["copied"] = another_case(len(held_out))
    return figures(compared(f"{len(held_out)} held-out cases", texts, held_out, console))


def figures(found: dict[str, Generated]) -> dict[str, float]:
    return {
        f"{measure}, {name}": round(getattr(one, measure), 4)
        for measure in ("agreement", "intent", "reward")
        for name, one in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", help="a run's `model`; nothing is trained")
    models, console = parser.parse_args().models, Console(width=140)
    print(f"figures: {json.dumps(of_models(models, console) if models else trained_here(console))}")


if __name__ == "__main__":
    main()
