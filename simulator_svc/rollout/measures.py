"""The worker's metrics. Labels are enums and stable reasons only, so their number is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from anamnesis.common.v1.rollout_pb2 import RolloutKind, TerminalState, Trajectory

_meter = metrics.get_meter(__name__)
_episodes = _meter.create_counter(
    "anamnesis.rollout.episodes", "{episode}", "Terminal records by kind, state and reason"
)
_tokens = _meter.create_counter("anamnesis.rollout.tokens", unit="{token}", description="Tokens of played sequences")
_seconds = _meter.create_histogram(
    "anamnesis.rollout.episode.duration",
    unit="s",
    description="From taken to published",
    explicit_bucket_boundaries_advisory=(0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600),
)


def count(trajectory: Trajectory, seconds: float) -> None:
    labels = {
        "kind": RolloutKind.Name(trajectory.request.kind).removeprefix("ROLLOUT_KIND_").lower(),
        "state": TerminalState.Name(trajectory.terminal_state).removeprefix("TERMINAL_STATE_").lower(),
    }
    _episodes.add(1, {**labels, "reason": trajectory.reasons[0] if trajectory.reasons else ""})
    _seconds.record(seconds, labels)
    for sampled in (False, True):
        tokens = sum(len(s.token_ids) for s in trajectory.segments if s.trainable == sampled)
        _tokens.add(tokens, {"part": "sampled" if sampled else "prompt"})


def observe(playing: Callable[[], int]) -> None:
    """Read at every export. Once a process. (How far the worker is behind is its consumer's metric.)"""

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(playing())]

    _meter.create_observable_gauge("anamnesis.rollout.episodes.playing", [callback], "{episode}", "Episodes played now")
