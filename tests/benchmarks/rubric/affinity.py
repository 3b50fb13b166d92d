"""Affinity beside round-robin: the same questions to two replicas of the frozen engine, in one run.

The workload: dialogues whose prompts share a prefix of P tokens, N criteria each, a suffix of s tokens a criterion.
Each replica has one thread, so that two of them fill two cores. With round-robin both compute every prefix, so at the
very most affinity is (2P + Ns) / (P + Ns) times as fast. A prefix hits the cache in whole blocks: floor(P / block)
blocks of the N - 1 questions that follow the first are reachable, and of the first what all dialogues share (the
template's beginning). No dialogue comes twice, and a pass of short ones has more of them, or chance would decide how
evenly they fall on the two replicas.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from rubric_svc.generate.templates import built_in
from rubric_svc.inference import FrozenModel
from rubric_svc.judge.model import Choice, Failed, Question, question
from rubric_svc.model import Criterion, Dialogue, Scope, Speaker, Turn
from service_kit.grpc.channel import open_channel

CRITERIA = 12
BLOCK = 32
# Of all dialogues of a pass together.
PASS_TOKENS = 16384
AT_ONCE = 8
PASSES = 3
PREFIXES = (256, 512, 1024, 1536)
LIMIT_SECONDS = 300.0
PATIENT_SAYS = (
    "I feel it most in the morning when I get up and it takes an hour until my hands work as they should and then "
    "it comes back at night after a long day at the bakery where I stand and lift heavy trays from five until noon"
)


@dataclass(frozen=True)
class Measured:
    """Of one prefix length: seconds of each pass, and what the replicas computed and found in their caches."""

    prefix_tokens: int
    suffix_tokens: float
    affinity_seconds: list[float]
    round_robin_seconds: list[float]
    cached: int
    reachable: int

    @property
    def speedup(self) -> float:
        pairs = zip(self.round_robin_seconds, self.affinity_seconds, strict=True)
        return statistics.median(robin / affinity for robin, affinity in pairs)

    @property
    def bound(self) -> float:
        rest = CRITERIA * self.suffix_tokens
        return (2 * self.prefix_tokens + rest) / (self.prefix_tokens + rest)

    @property
    def cached_share(self) -> float:
        return self.cached / self.reachable


class RoundRobin:
    """What gRPC does with two addresses: each question to the next replica."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._replicas = [FrozenModel(target) for target in targets]

    async def choose(self, questions: Sequence[Question], limit: float) -> list[Sequence[Choice] | Failed]:
        turns = list(zip(cycle(range(len(self._replicas))), range(len(questions))))
        mine = [[index for replica, index in turns if replica == number] for number in range(len(self._replicas))]
        asked = [
            replica.choose([questions[i] for i in indices], limit)
            for replica, indices in zip(self._replicas, mine, strict=True)
        ]
        answers: dict[int, Sequence[Choice] | Failed] = {}
        for indices, found in zip(mine, await asyncio.gather(*asked), strict=True):
            answers |= zip(indices, found, strict=True)
        return [answers[index] for index in range(len(questions))]

    async def close(self) -> None:
        await asyncio.gather(*(replica.close() for replica in self._replicas))


class Workload:
    def __init__(self, model: Path, seed: int) -> None:
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
        self._random = random.Random(seed)
        general = built_in().general
        self._criteria = [
            Criterion(template.template_id, template.text, 3)
            for template in general
            if "{" not in template.text and max(template.points.values()) > 0
        ][:CRITERIA]

    def dialogues(self, prefix_tokens: int) -> list[list[Question]]:
        """Each the questions of one dialogue, whose prompts share about prefix_tokens tokens."""
        return [self._questions(prefix_tokens) for _ in range(PASS_TOKENS // prefix_tokens)]

    def lengths(self, questions: Sequence[Question]) -> tuple[int, float]:
        """P and the mean s, as the engine sees them: with the chat template."""
        prompts = [self._tokens(asked) for asked in questions]
        shared = _in_common(prompts)
        return shared, statistics.fmean(len(prompt) - shared for prompt in prompts)

    def reachable(self, dialogues: Sequence[Sequence[Question]]) -> int:
        """Tokens of prompts that a cache can hold when their turn comes."""
        everywhere = _in_common([self._tokens(questions[0]) for questions in dialogues])
        own = (self.lengths(questions)[0] // BLOCK * (len(questions) - 1) for questions in dialogues)
        return (sum(own) + everywhere // BLOCK * len(dialogues)) * BLOCK

    def _questions(self, prefix_tokens: int) -> list[Question]:
        turns: list[Turn] = []
        while True:
            speaker = Speaker.DOCTOR if len(turns) % 2 else Speaker.PATIENT
            turns.append(Turn(speaker, " ".join(self._random.choices(PATIENT_SAYS.split(), k=24)) + "."))
            asked = _ask(self._criteria, tuple(turns))
            if self.lengths(asked[:2])[0] >= prefix_tokens:
                return asked

    def _tokens(self, asked: Question) -> list[int]:
        messages = [{"role": "user", "content": asked.messages[0].text}]
        ids = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return [int(token) for token in ids]


def _in_common(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    return next((place for place, tokens in enumerate(zip(*prompts, strict=False)) if len(set(tokens)) > 1), 0)


def _ask(criteria: Sequence[Criterion], dialogue: Dialogue) -> list[Question]:
    return [question(criterion, dialogue, Scope.WHOLE_DIALOGUE, turns=len(dialogue)) for criterion in criteria]


async def cached_tokens(targets: Sequence[str]) -> int:
    total = 0
    for target in targets:
        async with open_channel(target) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            total += (await stub.GetStats(inference_pb2.GetStatsRequest(), timeout=30)).cached_prompt_tokens
    return total


async def play(chooser: FrozenModel | RoundRobin, dialogues: Sequence[Sequence[Question]]) -> float:
    """Seconds until every question is answered, AT_ONCE dialogues at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def judged(questions: Sequence[Question]) -> None:
        async with places:
            failed = [answer for answer in await chooser.choose(questions, LIMIT_SECONDS) if isinstance(answer, Failed)]
            if failed:
                raise RuntimeError(f"{len(failed)} questions were not answered: {failed[0].reason}")

    started = time.perf_counter()
    await asyncio.gather(*(judged(questions) for questions in dialogues))
    return time.perf_counter() - started


async def measure(targets: Sequence[str], model: Path, console: Console) -> list[Measured]:
    affinity, robin = FrozenModel(",".join(targets)), RoundRobin(targets)
    workload = Workload(model, seed=7)
    found = []
    try:
        for chooser in (affinity, robin):
            await play(chooser, workload.dialogues(PREFIXES[0]))  # warms both replicas up
        for wanted in PREFIXES:
            found.append(await _measure_prefix(wanted, workload, affinity, robin, targets))
            console.print(f"prefix {found[-1].prefix_tokens}: {found[-1].speedup:.2f} of {found[-1].bound:.2f}")
    finally:
        await asyncio.gather(affinity.close(), robin.close())
    return found


async def _measure_prefix(
    wanted: int, workload: Workload, affinity: FrozenModel, robin: RoundRobin, targets: Sequence[str]
) -> Measured:
    seconds: dict[str, list[float]] = {"affinity": [], "robin": []}
    cached = reachable = 0
    for _ in range(PASSES):
        dialogues = workload.dialogues(wanted)
        before = await cached_tokens(targets)
        seconds["affinity"].append(await play(affinity, dialogues))
        cached += await cached_tokens(targets) - before
        reachable += workload.reachable(dialogues)
        seconds["robin"].append(await play(robin, workload.dialogues(wanted)))
    prefix, suffix = workload.lengths(dialogues[0])
    return Measured(prefix, suffix, seconds["affinity"], seconds["robin"], cached, reachable)


def table(found: Sequence[Measured]) -> Table:
    shown = Table(
        title=f"affinity beside round-robin: 2 replicas, {PASS_TOKENS} / P dialogues a pass, N = {CRITERIA} criteria, "
        f"blocks of {BLOCK} tokens, medians of {PASSES} passes"
    )
    for column in ("P", "s", "affinity s", "round-robin s", "speed-up", "bound", "of the bound", "from cache"):
        shown.add_column(column, justify="right")
    for one in found:
        shown.add_row(
            str(one.prefix_tokens),
            f"{one.suffix_tokens:.0f}",
            f"{statistics.median(one.affinity_seconds):.2f}",
            f"{statistics.median(one.round_robin_seconds):.2f}",
            f"{one.speedup:.2f}",
            f"{one.bound:.2f}",
            f"{one.speedup / one.bound:.0%}",
            f"{one.cached_share:.1%}",
        )
    return shown
