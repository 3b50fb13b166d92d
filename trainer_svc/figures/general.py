"""What a stage did to everything else: general abilities and perplexities before and after it."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

from trainer_svc.flow.tasks import Ability
from trainer_svc.records.journal import Measurement

# A task counts as solved when every criterion of it is met.
SOLVED = 1.0


class Change(TypedDict):
    """A share of solved tasks, or a perplexity, over `count` tasks or texts."""

    before: float
    after: float
    count: int


def compare_general(
    held_out: int, abilities: Sequence[Ability], before: Measurement, after: Measurement
) -> dict[str, Change]:
    """Abilities by name, over the tasks answered both times; then perplexities. `held_out` is what stands first."""
    changes: dict[str, Change] = {}
    both = before.values.keys() & after.values.keys()
    for name in dict.fromkeys(ability.name for ability in abilities):
        indices = [held_out + i for i, ability in enumerate(abilities) if ability.name == name]
        pairs = [(before.values[i].reward, after.values[i].reward) for i in indices if i in both]
        if pairs:
            changes[name] = Change(
                before=statistics.fmean(b >= SOLVED for b, _ in pairs),
                after=statistics.fmean(a >= SOLVED for _, a in pairs),
                count=len(pairs),
            )
    return changes | perplexity_changes(before.perplexity, after.perplexity)


def perplexity_changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Change]:
    return {
        f"perplexity_{name}": Change(before=before[name], after=after[name], count=1)
        for name in before
        if name in after
    }
