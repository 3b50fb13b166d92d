"""All that a run reads from the data directory: tasks, texts, and what its perplexity is measured on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_svc.config import RunConfig
from trainer_svc.figures.perplexity import Probe
from trainer_svc.flow.tasks import Ability, Task, Tasks
from trainer_svc.learner.supervised import Row
from trainer_svc.stages import task_formats
from trainer_svc.stages.mixture import GENERAL, MATHS, MEDICAL, mixed_rows, probe_rows
from trainer_svc.stages.pairs import that_fit
from trainer_svc.stages.sources import DataMissing, Pair, Split, Text, read_pairs, read_tasks, read_texts

# What general abilities are measured on.
GSM8K, IFEVAL = "gsm8k:gsm8k/test.jsonl", "ifeval:ifeval/input_data.jsonl"
# The name of the held-out pairs among what perplexity is measured on.
PAIRS = "pairs"


@dataclass(frozen=True)
class Corpus:
    tokenizer: Any
    train: dict[str, tuple[Text, ...]]
    # Held-out texts by name.
    probes: dict[str, tuple[Text, ...]]
    pairs: Split[Pair]

    def rows(self, length: int, count: int, seed: int) -> list[Row]:
        return mixed_rows(self.train, self.encode, self.end, length, count, seed)

    def probe(self, length: int, tokens: int) -> dict[str, list[Probe]]:
        """By name: of texts about so many tokens, of held-out pairs as many whole answers as have so many."""
        probes = {name: probe_rows(t, self.encode, self.end, length, tokens) for name, t in self.probes.items()}
        held_out: list[Probe] = []
        for _, one in that_fit(self.pairs.held_out, self.tokenizer, length):
            if sum(len(probe.token_ids) - probe.given for probe in held_out) < tokens:
                held_out.append(Probe(one.token_ids, one.given))
        return probes | {PAIRS: held_out}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @property
    def end(self) -> int:
        end: int = self.tokenizer.eos_token_id
        return end


def read_corpus(root: Path, config: RunConfig, tokenizer: Any, notice: Callable[[str], None]) -> Corpus:
    """Raises DataError for texts and pairs that are trained on; a probe that is missing is left out, with a notice."""
    data, percent = config.data, config.data.held_out_percent
    train, probes = {}, {}
    if config.stage == "mid":
        for kind, sources in ((MEDICAL, data.medical), (GENERAL, data.general), (MATHS, data.maths)):
            train[kind] = read_texts(root, sources, percent).train
    if config.evaluation.perplexity_tokens:
        for name, sources in (("medical", data.medical), ("general", data.general_probe)):
            try:
                probes[name] = read_texts(root, sources, percent).held_out
            except DataMissing as error:
                notice(f"perplexity of {name} texts is not measured: {error}")
    return Corpus(tokenizer, train, probes, read_pairs(root, data.pairs, percent))


def read_all_tasks(
    root: Path, config: RunConfig, notice: Callable[[str], None], handed_on: Path | None = None
) -> Tasks:
    """Raises DataError for tasks that the stage trains on; an ability whose file is missing is left out and said so.

    `handed_on` is the file of tasks that an SFT run left for RL, if it did.
    """
    own = read_tasks(root, config.data.tasks, config.data.held_out_percent)
    abilities: list[Ability] = []
    for name, source, count in (
        ("gsm8k", GSM8K, config.evaluation.gsm8k),
        ("ifeval", IFEVAL, config.evaluation.ifeval),
    ):
        if count:
            try:
                abilities += [Ability(name, task) for task in _held_out(root, source, config, count)]
            except DataMissing as error:
                notice(f"{name} is not measured: {error}")
    left = tuple(task_formats.FORMATS["tasks"](handed_on)) if handed_on is not None else ()
    known = {task.task_id for task in left}
    train = (*left, *(task for task in own.train if task.task_id not in known))
    return Tasks(train, own.held_out[: config.evaluation.tasks], tuple(abilities), len(left))


def _held_out(root: Path, source: str, config: RunConfig, count: int) -> tuple[Task, ...]:
    return read_tasks(root, (source,), config.data.held_out_percent).held_out[:count]
