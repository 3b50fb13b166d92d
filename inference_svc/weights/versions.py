"""Which weights are newer, and which sampled a token.

Invariant: within a run (incarnation, step) only grows. The base model is the version with an empty run at step 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    run_id: str = ""
    incarnation: int = 0
    step: int = 0

    def label(self) -> str:
        """As the engine carries it; a run id has no slash behind the first two parts."""
        return f"{self.incarnation}/{self.step}/{self.run_id}"

    @classmethod
    def of_label(cls, label: str) -> Version:
        incarnation, step, run_id = label.split("/", 2)
        return cls(run_id, int(incarnation), int(step))

    def may_follow(self, served: Version) -> bool:
        """Another run may follow at any step; the same run moves forward only."""
        return self.run_id != served.run_id or (self.incarnation, self.step) > (served.incarnation, served.step)

    def __str__(self) -> str:
        return f"{self.run_id or 'base'} incarnation {self.incarnation} step {self.step}"


BASE = Version()


@dataclass(frozen=True)
class Run:
    """The next `tokens` tokens were sampled from `version`."""

    version: Version
    tokens: int


def joined(runs: Iterable[Run]) -> list[Run]:
    """Without empty runs, neighbours of one version as one."""
    result: list[Run] = []
    for run in runs:
        if run.tokens == 0:
            continue
        if result and result[-1].version == run.version:
            result[-1] = Run(run.version, result[-1].tokens + run.tokens)
        else:
            result.append(run)
    return result
