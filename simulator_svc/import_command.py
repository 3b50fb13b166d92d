"""`anamnesis cases import`: cases from files of one's own, de-identified. What it prints holds no text of a record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from service_kit.extras import needs_extra
from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.importers.report import Report, SourceUnreadable
from simulator_svc.cases.model import Split

# More refusals than these are counted by reason and listed only with --json.
_SHOWN = 20


def import_(
    source: Annotated[Path, typer.Argument(help="A file, or a directory of files.", exists=True, show_default=False)],
    format: Annotated[
        Format, typer.Option("--format", "-f", help="What the source holds; see above.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="An empty or new directory for the case files.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON, with every refusal.")] = False,
) -> None:
    """Import cases from files of your own, de-identified first.

    Every record becomes one case file (TOML), which the patient plays like a built-in one, or is refused with its
    position and the reason. Names, places, dates and the other identifiers of HIPAA's Safe Harbor are taken out before
    anything else reads the text; a record that cannot be cleared is refused. Rules word each fact as a patient would.

    \b
    osce      JSON lines as AgentClinic has them: OSCE_Examination with Patient_Actor,
              Physical_Examination_Findings, Test_Results, Correct_Diagnosis
    mediq     JSON lines as MediQ has them: facts, question, answer, patient
    fhir      R4 bundles, one a JSON file: Patient, Condition, Observation, Medication-
              Statement and -Request, AllergyIntolerance, Procedure,
              FamilyMemberHistory, Encounter
    dialogue  CSV as MTS-Dialog has it: section_header, section_text, dialogue

    Then: anamnesis cases validate -d DIR, anamnesis cases show -d DIR CASE, and
    ANAMNESIS_SIMULATOR_CASE_DIRECTORY=DIR for the patient.

    Exit code 1 if the source cannot be read or no record was imported.
    """
    with needs_extra("simulator-import"):
        from simulator_svc.cases.importers.run import import_cases  # loads Presidio

    errors = Console(stderr=True)
    with Progress(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task("records", total=None)
        try:
            report = import_cases(
                format, source, out, lambda done, total: bar.update(task, completed=done, total=total)
            )
        except SourceUnreadable as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print(Console(), report)
    if not report.imported:
        raise typer.Exit(1)


def _print(console: Console, report: Report) -> None:
    held_out = report.splits[Split.HELD_OUT]
    console.print(
        f"{report.imported} cases written, {held_out} of them held out, with {report.facts.total()} facts; "
        f"{len(report.refused)} records refused"
    )
    for title, counts in (
        ("Identifiers taken out", report.removed),
        ("Sentences left out or changed", report.notes),
        ("Refused", Counter(refusal.reason for refusal in report.refused)),
    ):
        if counts:
            console.print(_counted(title, {str(name): count for name, count in counts.most_common()}))
    for refusal in report.refused[:_SHOWN]:
        console.print(f"refused: {refusal.position}: {refusal.where}", highlight=False, markup=False)
    if len(report.refused) > _SHOWN:
        console.print(f"... and {len(report.refused) - _SHOWN} more; --json lists them all")


def _counted(title: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in counts.items():
        table.add_row(name, str(count))
    return table
