"""The study of learning: what it plays (study.toml), what was finished (results/learning.jsonl), and what follows.

Invariant: a result stands in the file once and whole, with the commit and the settings that it was measured with.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import variance

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "learning.jsonl"
# The reward of training steps is noisy: its mean over so many counts as reached.
SMOOTHED_STEPS = 3


@dataclass(frozen=True)
class Job:
    """One run of the study."""

    experiment: str
    seed: int
    stage: str
    preset: str
    overrides: dict[str, str]


@dataclass(frozen=True)
class Step:
    # Since the first step began to wait for its trajectories.
    seconds: float
    reward_mean: float
    length_mean: float
    entropy: float


@dataclass(frozen=True)
class HeldOut:
    """Measured while training waited: `evaluating` is how much of `seconds` went into measuring so far."""

    step: int
    reward: float
    # Since the first step began to wait for its trajectories, until this step's weights were served.
    seconds: float
    evaluating: float

    @property
    def trained(self) -> float:
        """Seconds without those."""
        return round(self.seconds - self.evaluating, 1)


@dataclass(frozen=True)
class Result:
    job: Job
    commit: str
    run_id: str
    finished_at: str
    ledger_gaps: list[str]
    held_out_before: float
    held_out_after: float
    standard_error: float
    pairs: int
    untrained_before: float
    untrained_after: float
    steps: list[Step] = field(default_factory=list)
    # Where the job measures on its way; with the last step.
    held_out: list[HeldOut] = field(default_factory=list)

    @property
    def difference(self) -> float:
        return self.held_out_after - self.held_out_before

    @property
    def improved(self) -> bool:
        return self.difference > self.standard_error

    @property
    def smoothed(self) -> list[float]:
        """The reward of training, each the mean of SMOOTHED_STEPS; the first is of the step of that number."""
        rewards = [step.reward_mean for step in self.steps]
        ends = range(SMOOTHED_STEPS, len(rewards) + 1)
        return [sum(rewards[end - SMOOTHED_STEPS : end]) / SMOOTHED_STEPS for end in ends]

    def reaches(self, reward: float) -> HeldOut | None:
        """The first measurement on held-out cases that is as high; None if none was."""
        return next((one for one in self.held_out if one.reward >= reward), None)


def jobs() -> list[Job]:
    """In the order in which they are played: one seed of everything before the next seed."""
    plan = tomllib.loads((HERE / "study.toml").read_text(encoding="utf-8"))
    return [
        Job(name, seed, what.get("stage", ""), what["preset"], what.get("overrides", {}))
        for seed in plan["seeds"]
        for name, what in plan["experiment"].items()
    ]


def results(path: Path = RESULTS) -> list[Result]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        value = json.loads(line)
        value["job"], value["steps"] = Job(**value["job"]), [Step(**step) for step in value["steps"]]
        value["held_out"] = [HeldOut(**one) for one in value.get("held_out", [])]
        found.append(Result(**value))
    return found


def keep(result: Result, path: Path = RESULTS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def of_experiment(found: Iterable[Result], name: str) -> list[Result]:
    """The finished runs of an experiment as it is defined now, by seed."""
    wanted = [job for job in jobs() if job.experiment == name]
    return sorted((result for result in found if result.job in wanted), key=lambda result: result.job.seed)


def seeds_improved(found: Sequence[Result], name: str) -> int | None:
    """Of all seeds; None while one of them has not run."""
    finished = of_experiment(found, name)
    if len(finished) < sum(job.experiment == name for job in jobs()):
        return None
    return sum(result.improved for result in finished)


def ablation(found: Sequence[Result], first: str, second: str) -> Mapping[str, float] | None:
    """Rise of the held-out reward over the seeds that both have run: the means and their difference.

    Its standard error is of unpaired runs: a seed fixes cases and prompts, the engines' clock decides the rest.
    """
    a = {result.job.seed: result.difference for result in of_experiment(found, first)}
    b = {result.job.seed: result.difference for result in of_experiment(found, second)}
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    ours, theirs = ([of[seed] for seed in seeds] for of in (a, b))
    n = len(seeds)
    return {
        "seeds": n,
        first: sum(ours) / n,
        second: sum(theirs) / n,
        "difference": (sum(ours) - sum(theirs)) / n,
        "standard_error": math.sqrt((variance(ours) + variance(theirs)) / n) if n > 1 else math.nan,
    }
