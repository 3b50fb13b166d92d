"""The measurements as a table for people and as JSON for machines. What was not measured is a dash, or null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from simulator_svc.evaluate.measure import Measured
from simulator_svc.evaluate.scorers.personification import Personification

_ROWS: tuple[tuple[str, Callable[[Measured], str]], ...] = (
    ("consultations", lambda m: str(m.consultations)),
    ("  broken off", lambda m: _counted(m.broken)),
    ("patient turns", lambda m: str(m.turns)),
    ("  refused by the service", lambda m: _counted(m.refused)),
    ("Privacy", lambda m: str(m.privacy)),
    ("Fact", lambda m: str(m.fact)),
    ("diagnosis named", lambda m: str(m.diagnosis_named)),
    ("answer recall", lambda m: str(m.answer_recall)),
    ("  of every fact asked for", lambda m: str(m.recall_of_every_fact)),
    ("Personification", lambda m: _consistency(m.personification)),
    ("ended before the closing turn", lambda m: str(m.ended_early)),
    ("ended at the closing turn", lambda m: str(m.ended_in_time)),
    ("not even then", lambda m: str(m.never_ended)),
    ("endings", lambda m: _counted(m.endings)),
    ("plain statement as fall-back", lambda m: str(m.fallback_share)),
    ("rewrites a turn", lambda m: "-" if m.rewrites_per_turn.value is None else f"{m.rewrites_per_turn.value:.3f}"),
    ("replies by source", lambda m: _counted(m.sources)),
    ("seconds a turn: median, 95 %", lambda m: _pair(m.latency_seconds)),
    ("distinct-1, distinct-2", lambda m: _pair((m.natural.distinct_1, m.natural.distinct_2)) if m.natural else "-"),
    (
        "words a turn: quartiles",
        lambda m: ", ".join(f"{n:.0f}" for n in m.natural.length_quartiles) if m.natural else "-",
    ),
)


def table(measured: Mapping[str, Measured], title: str) -> Table:
    """A column a condition. Shares come with their 95 % interval."""
    found = Table(title=title, title_justify="left")
    found.add_column("")
    for condition in measured:
        found.add_column(condition, overflow="fold")
    for name, value in _ROWS:
        found.add_row(name, *(value(column) for column in measured.values()))
    return found


def axes_table(measured: Mapping[str, Measured]) -> Table:
    """How often the blind classifier names the persona's axis, on cases that it did not learn from."""
    found = Table(
        title="persona recognised from the replies: balanced accuracy on held-out cases", title_justify="left"
    )
    found.add_column("axis")
    found.add_column("chance", justify="right")
    known = {name: column.personification for name, column in measured.items() if column.personification}
    for condition in known:
        found.add_column(condition)
    for axis in next(iter(known.values())).axes if known else ():
        first = next(iter(known.values())).axes[axis]
        cells = (str(one.axes[axis].accuracy) if axis in one.axes else "-" for one in known.values())
        found.add_row(axis, f"{100 * first.chance:.0f} %", *cells)
    return found


def as_json(measured: Mapping[str, Measured]) -> dict[str, Any]:
    return {condition: asdict(column) for condition, column in measured.items()}


def _consistency(found: Personification | None) -> str:
    return f"{found.consistency} (chance {100 * found.chance:.0f} %)" if found else "-"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "0"


def _pair(values: tuple[float, float] | None) -> str:
    return f"{values[0]:.3f}, {values[1]:.3f}" if values else "-"
