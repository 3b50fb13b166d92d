"""HealthBench's scores of many items: each example, then the mean by theme, axis and every other tag.

    value(example)      = points of met criteria / points of positive criteria, unclipped
    value(example, tag) = the same over the criteria that bear the tag; none where none of them is positive
    mean(name)          = clip(mean over the examples that have a value, 0, 1), its error by 1,000 resamples

An item's own tags (themes) take the example's value, a criterion's tags (axes, clusters) the value over that tag:
simple-evals, healthbench_eval.py. A void example (too much of it ungraded) is in no mean, and is counted.

The later length adjustment (HealthBench Professional, section 4.1), where asked for, lowers the example's own value by
0.0147 for every 500 characters of the answer beyond 2,000; the values over a criterion's tags stay as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rubric_svc import score as definition
from rubric_svc.evaluate.healthbench import HealthBenchItem
from rubric_svc.model import Outcome, Verdict
from rubric_svc.score import Mean

OVERALL = "overall"
FREE_CHARACTERS = 2000
PENALTY_PER_CHARACTER = 0.0147 / 500


@dataclass(frozen=True, slots=True)
class Example:
    """`value` is None where the score is void; `by_tag` holds the tags that have a value."""

    prompt_id: str
    value: float | None
    by_tag: Mapping[str, float]
    verdicts: tuple[Verdict, ...]

    @property
    def ungraded(self) -> int:
        return sum(verdict.outcome is Outcome.UNGRADED for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Summary:
    """Means by name (`overall`, `theme:…`, `axis:…`, …) and what is in none of them."""

    means: Mapping[str, Mean]
    examples: int
    void: int
    criteria: int
    ungraded: int

    @property
    def overall(self) -> Mean | None:
        """None where every example is void."""
        return self.means.get(OVERALL)


def example(
    item: HealthBenchItem, verdicts: Sequence[Verdict], *, void_share: float, answer_characters: int | None = None
) -> Example:
    """Verdicts in the rubric's order. With `answer_characters` the value is adjusted for the answer's length."""
    whole = definition.score(verdicts, void_share=void_share)
    if whole.void:
        return Example(item.prompt_id, None, {}, tuple(verdicts))
    value = whole.value - (length_penalty(answer_characters) if answer_characters is not None else 0.0)
    by_tag = dict.fromkeys(item.example_tags, value)
    bearing: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        for tag in dict.fromkeys(verdict.criterion.tags):
            bearing[tag].append(verdict)
    for tag, borne in bearing.items():
        tagged = definition.score(borne, void_share=1.0)
        if tagged.points_possible > 0:
            by_tag[tag] = tagged.value
    return Example(item.prompt_id, value, by_tag, tuple(verdicts))


def length_penalty(characters: int) -> float:
    return PENALTY_PER_CHARACTER * max(0, characters - FREE_CHARACTERS)


def summarize(examples: Sequence[Example], *, seed: int = 0) -> Summary:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for scored in examples:
        if scored.value is not None:
            values[OVERALL].append(scored.value)
        for tag, value in scored.by_tag.items():
            values[tag].append(value)
    return Summary(
        means={name: definition.mean_with_error(values[name], seed=seed) for name in sorted(values, key=_order)},
        examples=len(examples),
        void=sum(scored.value is None for scored in examples),
        criteria=sum(len(scored.verdicts) for scored in examples),
        ungraded=sum(scored.ungraded for scored in examples),
    )


def _order(name: str) -> tuple[int, str]:
    """The overall mean first, then what people read, then the rest."""
    leading = [OVERALL, "theme:", "axis:", "station:", "dimension:"]
    return next((place for place, start in enumerate(leading) if name.startswith(start)), len(leading)), name
