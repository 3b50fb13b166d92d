"""What in a run's curves somebody must look at now: a reward that collapses, a policy that has made up its mind, a
sampler that is not the trainer's policy, a judge whose habits are learned and not what it judges.

Pure: the history of steps in, the alerts of the last step out. Each kind is told once when it begins, and again only
after it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer_svc.config import Alerts

Point = Mapping[str, Any]
# The rollout worker's name for it, among a trajectory's components.
DISAGREEMENT = "judge_disagreement"


@dataclass(frozen=True)
class Alert:
    name: str
    detail: str


def alerts(history: Sequence[Point], limits: Alerts) -> list[Alert]:
    """Those that begin with the last step."""
    found = []
    for condition in (reward_collapse, entropy_collapse, mismatch, reward_hacking):
        now = condition(history, limits)
        if now is not None and condition(history[:-1], limits) is None:
            found.append(now)
    return found


def reward_collapse(history: Sequence[Point], limits: Alerts) -> Alert | None:
    """The recent mean reward lies below the best one before it by more than the limit."""
    rewards = [float(point["reward_mean"]) for point in history if "reward_mean" in point]
    window = limits.window
    if len(rewards) < 2 * window:
        return None
    means = [sum(rewards[at : at + window]) / window for at in range(len(rewards) - window + 1)]
    best, last = max(means[:-window]), means[-1]
    if best - last <= limits.reward_drop:
        return None
    return Alert("reward_collapse", f"mean reward of the last {window} steps {last:.3f}, it was {best:.3f}")


def entropy_collapse(history: Sequence[Point], limits: Alerts) -> Alert | None:
    """The recent entropy is a small share of the first steps'."""
    values = [float(point["entropy"]) for point in history if "entropy" in point]
    window = limits.window
    if len(values) < 2 * window:
        return None
    first, last = sum(values[:window]) / window, sum(values[-window:]) / window
    if last >= limits.entropy_share * first:
        return None
    return Alert("entropy_collapse", f"entropy of the last {window} steps {last:.3f} nats, of the first {first:.3f}")


def mismatch(history: Sequence[Point], limits: Alerts) -> Alert | None:
    """The sampler's distribution is far from the trainer's: log-probs, weights or templates are not the same."""
    values = [float(point["mismatch_kl"]) for point in history if "mismatch_kl" in point][-limits.window :]
    if len(values) < limits.window or sum(values) / len(values) <= limits.mismatch_kl:
        return None
    mean = sum(values) / len(values)
    return Alert("mismatch_kl", f"mean KL of the last {limits.window} steps {mean:.3f}, above {limits.mismatch_kl}")


def reward_hacking(history: Sequence[Point], limits: Alerts) -> Alert | None:
    """A second, independent judge disagrees with the one that gives the reward by more than it did in the first steps.

    The rise and not the level: two judges differ from the start, and what a policy adds to that is what it learned of
    one of them. Steps without a second opinion count in no window.
    """
    components = [point.get("reward_components", {}) for point in history]
    values = [float(of_step[DISAGREEMENT]) for of_step in components if DISAGREEMENT in of_step]
    window = limits.window
    if len(values) < 2 * window:
        return None
    first, last = sum(values[:window]) / window, sum(values[-window:]) / window
    if last - first <= limits.judge_disagreement:
        return None
    detail = f"a second judge disagrees on {last:.1%} of the points in the last {window} steps, on {first:.1%} at first"
    return Alert("judge_disagreement", detail)
