"""The verifiable judge beside two readers' labels: precision and recall, on the development and the held-out part.

labels/verdicts.jsonl holds the pairs; both labels were given independently, by readers who had not seen a matcher. A
pair's id decides its part (rubric_svc/judge/labelled.py); nothing was ever tuned on the held-out third. Pairs on which
the two differ have no label and are counted. Run alone, it lists the development part's mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rubric_svc.agreement import Pair, measure
from rubric_svc.generate.situation import MOST_ASKED
from rubric_svc.generate.templates import built_in
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.labelled import Labelled, Part, read
from rubric_svc.judge.verifiable import verdict
from rubric_svc.model import Check, Outcome, Verdict

FILE = Path(__file__).parent.parent / "labels" / "verdicts.jsonl"
MATCHED = (*built_in().general, *built_in().library)
CHECKS = {t.template_id: t.check for t in MATCHED if not any(s.startswith("{") for s in t.check.terms)}
# Since the labelling these have lost their matcher: they need judgement, so the judge model answers them.
UNMATCHED = {t.template_id for t in built_in().model}
OUTCOME = {True: Outcome.MET, False: Outcome.NOT_MET}


@dataclass(frozen=True)
class Measured:
    """Of the pairs with a label; `differ` are those on which the two labels do."""

    pairs: int
    differ: int
    precision: float
    recall: float
    label_agreement: float
    label_kappa: float


def split(pairs: Sequence[Labelled]) -> dict[str, list[Labelled]]:
    pairs = [pair for pair in pairs if pair.criterion.criterion_id not in UNMATCHED]
    return {
        "development": [pair for pair in pairs if pair.part is not Part.HELD_OUT],
        "held out": [pair for pair in pairs if pair.part is Part.HELD_OUT],
    }


def judged(pair: Labelled) -> Verdict:
    """By the criterion's check as the library has it now; one with a case's own words keeps those of the file."""
    filed = pair.criterion.check
    own = CHECKS.get(pair.criterion.criterion_id) or Check(
        filed.matcher, tuple(MOST_ASKED if term.startswith("most=") else term for term in filed.terms)
    )
    criterion = replace(pair.criterion, check=own)
    return verdict(criterion, Evidence.of(pair.dialogue, pair.scope))


def measured(pairs: Sequence[Labelled]) -> Measured:
    both = measure([Pair(OUTCOME[pair.labels[0]], OUTCOME[pair.labels[-1]]) for pair in pairs])
    labelled = [(judged(pair).outcome is Outcome.MET, pair.met) for pair in pairs if pair.met is not None]
    hits = sum(found and bool(met) for found, met in labelled)
    found, wanted = sum(found for found, _ in labelled), sum(bool(met) for _, met in labelled)
    return Measured(
        len(labelled),
        len(pairs) - len(labelled),
        hits / found if found else 0.0,
        hits / wanted if wanted else 0.0,
        both.percent_agreement,
        both.cohen_kappa,
    )


def figures(console: Console) -> dict[str, float | int]:
    table = Table(title="The verifiable judge beside two independent labels")
    for column in ("part", "pairs", "labels differ", "labels agree %", "kappa", "precision", "recall"):
        table.add_column(column, justify="left" if column == "part" else "right")
    parts = {name: measured(pairs) for name, pairs in split(read(FILE)).items()}
    for name, m in parts.items():
        numbers = (f"{m.label_agreement:.1f}", f"{m.label_kappa:.2f}", f"{m.precision:.3f}", f"{m.recall:.3f}")
        table.add_row(name, str(m.pairs), str(m.differ), *numbers)
    console.print(table)
    held_out = parts["held out"]
    return {"matcher_precision": round(held_out.precision, 4), "matcher_recall": round(held_out.recall, 4)}


def main() -> None:
    console = Console(width=160)
    for pair in split(read(FILE))["development"]:
        found = judged(pair)
        if pair.met is not None and (found.outcome is Outcome.MET) is not pair.met:
            spoken = "\n".join(f"    {turn.speaker}: {turn.text}" for turn in pair.dialogue)
            kind = "missed" if pair.met else "found wrongly"
            console.print(f"{kind}: {pair.pair_id} {pair.criterion.text} | {found.explanation}\n{spoken}", markup=False)
    figures(console)


if __name__ == "__main__":
    main()
