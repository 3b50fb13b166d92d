"""What the engine is asked and what it answers, in plain Python: nothing here knows vLLM or protobuf."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from inference_svc.weights.versions import Run


class Rank(IntEnum):
    """Smaller goes first."""

    CONSULTATION = 0
    JUDGE = 1
    ROLLOUT = 2


def order(rank: Rank, seconds: float, ageing_seconds: float) -> int:
    """The engine's priority of a request that comes at `seconds`; smaller goes first.

    Time of arrival plus a handicap by rank: so a rank goes before the next one, but nobody is overtaken by those who
    come more than the handicap later, however many they are.
    """
    return round(1000 * (seconds + rank * ageing_seconds))


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    ABORTED = "abort"


class PauseMode(StrEnum):
    """vLLM's words for what happens to requests in flight."""

    DRAIN = "wait"
    ABORT = "abort"
    CONTINUE = "keep"


@dataclass(frozen=True)
class Sampling:
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    regex: str | None = None
    json_schema: str | None = None


@dataclass(frozen=True)
class Step:
    """What one engine step added to a request, or all of them together."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    finish: Finish | None = None
    # Of the whole request; set with finish.
    runs: list[Run] = field(default_factory=list)
    cached_prompt_tokens: int = 0
    # On time.monotonic's clock, by the engine; None before the request's first token.
    first_token_at: float | None = None
