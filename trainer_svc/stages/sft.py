"""SFT: on the model's own answers by rejection sampling, on supplied pairs, or on both.

Sampling draws prompts, has each answered k times, and keeps of them what the model shall learn. Invariant: an answer's
tokens are those that were sampled; only a reference or a supplied answer, which nobody sampled, is tokenized here. What
is trained on lies in `data/sft.jsonl` of the run, and what RL shall have in `data/rl_tasks.jsonl`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer_svc.flow.tasks import Task
from trainer_svc.learner.supervised import GIVEN, Row
from trainer_svc.publication.publish import replace_text
from trainer_svc.run import Run, RunFailed
from trainer_svc.seeds import shuffled
from trainer_svc.stages.corpus import Corpus
from trainer_svc.stages.pairs import encode, that_fit
from trainer_svc.stages.practice import train_on
from trainer_svc.stages.sampling import sample
from trainer_svc.stages.selection import Decision, Embed, Fate, count_fates, decide, draw
from trainer_svc.stages.task_formats import as_line

EXAMPLES, FOR_RL = "sft.jsonl", "rl_tasks.jsonl"
# The fate of a pair in sft.jsonl.
SUPPLIED = "supplied"


def practise(run: Run, corpus: Corpus, embed: Embed) -> None:
    if "examples" not in run.journal.stage:
        choose_examples(run, corpus, embed)
    examples = read_examples(run)
    train_on(run, lambda count: in_turn(examples, count, run.plan.seed))


def choose_examples(run: Run, corpus: Corpus, embed: Embed) -> None:
    lines: list[str] = []
    if run.config.data.tasks:
        lines += _sampled(run, corpus.tokenizer, embed)
    if run.config.data.pairs:
        lines += _supplied(run, corpus)
    text = "\n".join(lines) + "\n"
    replace_text(_data(run) / EXAMPLES, text)
    run.journal.stage |= {"examples": len(lines), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    run.checkpoint()


def _sampled(run: Run, tokenizer: Any, embed: Embed) -> list[str]:
    selection, tasks = run.config.selection, run.plan.tasks.train
    if "asked" not in run.journal.stage:
        pool = shuffled(run.plan.seed, "pool", len(tasks))[: selection.pool]
        drawn = draw([tasks[i].prompt for i in pool], embed, selection.clusters, selection.tasks, run.plan.seed)
        run.journal.stage["asked"] = [pool[i] for i in drawn]
        run.checkpoint()
    asked: list[int] = run.journal.stage["asked"]
    answers = sample(run, asked, tokenizer.eos_token_id)
    decisions = {
        index: decide(tasks[index], answers[index], embed, selection.passes_at, selection.consensus) for index in asked
    }
    lines = [line for i, decision in decisions.items() if (line := _example(tasks[i], decision, tokenizer))]
    if not lines:
        raise RunFailed(f"none of {len(asked)} tasks gave an example: {count_fates(list(decisions.values()))}")
    for_rl = [json.dumps(as_line(tasks[i])) for i, decision in decisions.items() if decision.fate is Fate.TO_RL]
    replace_text(_data(run) / FOR_RL, "".join(f"{line}\n" for line in for_rl))
    rates = [decision.pass_rate for decision in decisions.values()]
    run.journal.stage |= {"fates": count_fates(list(decisions.values())), "pass_rate": sum(rates) / len(rates)}
    kept = ", ".join(f"{count} {fate}" for fate, count in run.journal.stage["fates"].items() if count)
    run.notice(f"{len(asked)} tasks, {len(lines)} examples: {kept}")
    return lines


def _supplied(run: Run, corpus: Corpus) -> list[str]:
    """Every pair that fits is learned as it is."""
    pairs, most = corpus.pairs.train, run.config.supervised.row_tokens
    fit = that_fit(pairs, corpus.tokenizer, most)
    counts = {"supplied": len(fit), "too_long": len(pairs) - len(fit)}
    if not fit:
        raise RunFailed(f"none of {len(pairs)} pairs is at most supervised.row_tokens ({most}) long")
    run.journal.stage["pairs"] = counts
    run.notice(
        f"pairs: {counts['supplied']} supplied, {counts['too_long']} too long for supervised.row_tokens ({most})"
    )
    return [
        json.dumps({"task_id": pair.pair_id, "fate": SUPPLIED, "answer": pair.answer} | asdict(one))
        for pair, one in fit
    ]


def _data(run: Run) -> Path:
    directory = run.directory / "data"
    directory.mkdir(exist_ok=True)
    return directory


def _example(task: Task, decision: Decision, tokenizer: Any) -> str:
    """A line of sft.jsonl; empty where the task gives no example."""
    if decision.answer is not None:
        ids, given, text = decision.answer.token_ids, decision.answer.given, decision.answer.text
    elif decision.fate is Fate.REFERENCE:
        one = encode(task.prompt, task.reference, tokenizer)
        ids, given, text = one.token_ids, one.given, task.reference
    else:
        return ""
    line = {"task_id": task.task_id, "fate": decision.fate, "pass_rate": decision.pass_rate, "answer": text}
    return json.dumps(line | {"token_ids": ids, "given": given})


def read_examples(run: Run) -> list[Row]:
    text = (run.directory / "data" / EXAMPLES).read_text(encoding="utf-8")
    if hashlib.sha256(text.encode()).hexdigest() != run.journal.stage["sha256"]:
        raise RunFailed(f"{EXAMPLES} is not what was chosen: its digest differs")
    lines = [json.loads(line) for line in text.splitlines()]
    return [Row(line["token_ids"], labelled(line["token_ids"], line["given"])) for line in lines]


def labelled(token_ids: Sequence[int], given: int) -> list[int]:
    """Assistant tokens only."""
    return [GIVEN] * given + list(token_ids[given:])


def in_turn(examples: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Every example once before one comes again, in another order each time round."""
    rows: list[Row] = []
    turn = 0
    while len(rows) < count:
        rows += [examples[i] for i in shuffled(seed, f"examples-{turn}", len(examples))]
        turn += 1
    return rows[:count]
