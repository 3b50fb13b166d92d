"""`anamnesis cases`: work on local case files. `anamnesis simulator` stands in evaluation_commands.py."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from service_kit.errors import NotFound
from simulator_svc.cases.coverage import BANDS, SEXES, UNKNOWN, Coverage
from simulator_svc.cases.library import BUILT_IN, CaseLibrary
from simulator_svc.cases.model import Case, Category, Split
from simulator_svc.cases.parse import CaseError
from simulator_svc.cases.standard import library_shortcomings
from simulator_svc.evaluation_commands import simulator
from simulator_svc.import_command import import_
from simulator_svc.personas.stratify import stratified

cases = typer.Typer(help="The patient cases: list, show, validate, import.", no_args_is_help=True)
cases.command("import")(import_)
_Directory = Annotated[Path, typer.Option("--directory", "-d", help="Where the case files (*.toml) are.")]


def register(app: typer.Typer) -> None:
    app.add_typer(cases, name="cases")
    app.add_typer(simulator, name="simulator")


@cases.command("list")
def list_cases(directory: _Directory = BUILT_IN) -> None:
    """One line a case."""
    table = Table(title="Patient cases")
    for column in ("case", "specialty", "age", "sex", "split", "facts", "title"):
        table.add_column(column, justify="right" if column in ("age", "facts") else "left")
    for case in _load(directory).list():
        row = (
            case.case_id,
            case.specialty,
            str(case.age_years),
            case.sex,
            case.split,
            str(len(case.facts)),
            case.title,
        )
        table.add_row(*(cell or "" for cell in row))
    Console().print(table)


@cases.command("show")
def show(case_id: str, directory: _Directory = BUILT_IN) -> None:
    """The facts of one case and when the patient states them."""
    try:
        case = _load(directory).get(case_id)
    except NotFound as error:
        raise typer.BadParameter(f"{error}; see: anamnesis cases list") from None
    diagnosis = case.diagnosis_names[0] if case.diagnosis_names else "no diagnosis is recorded"
    table = Table(title=f"{case.case_id}: {case.title} ({diagnosis})")
    for column in ("fact", "category", "disclosure", "text", "spoken"):
        table.add_column(column)
    for fact in case.facts:
        table.add_row(fact.fact_id, fact.category, fact.disclosure, fact.text, fact.spoken)
    Console().print(table)


@cases.command("validate")
def validate(
    directory: _Directory = BUILT_IN,
    standard: Annotated[
        bool | None,
        typer.Option(help="Demand the built-in library's standard too; by default of the built-in cases alone."),
    ] = None,
) -> None:
    """Check every file, and print what the library covers. Exit code 1 for a file that is no valid case.

    The built-in library's standard (a least number of facts, the categories of a whole history, cues) is more than a
    case needs to be played: a case of your own may do without.
    """
    found = _load(directory).list()
    if standard if standard is not None else directory == BUILT_IN:
        problems = library_shortcomings(found)
        for problem in problems:
            typer.echo(problem, err=True)
        if problems:
            raise typer.Exit(1)
    console = Console()
    console.print(_by_category(found))
    console.print(_by_specialty(found))
    splits = Counter(case.split for case in found)
    console.print(
        f"{len(found)} cases valid: {splits[Split.TRAIN]} to train on, {splits[Split.HELD_OUT]} held out, "
        f"{sum(len(case.facts) for case in found)} facts"
    )


@cases.command("coverage")
def coverage(
    directory: _Directory = BUILT_IN,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON instead of a table.")] = False,
) -> None:
    """How many cases there are of each specialty, age and sex; a dash is a gap."""
    found = Coverage.of(_load(directory).list())
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    console = Console()
    console.print(_by_patient(found))
    if gaps := [f"{sex} {band}" for band, sex in found.empty()]:
        console.print(f"No case at all: {', '.join(gaps)}")
    for name, counts in (("Prevalence", found.prevalence), ("Split", found.splits)):
        console.print(f"{name}: " + ", ".join(f"{number} {value}" for value, number in counts.most_common()))


@cases.command("personas")
def personas(
    draws: Annotated[int, typer.Option("--draws", "-n", min=1, max=100_000, help="How many consultations.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.")] = 1,
    directory: _Directory = BUILT_IN,
) -> None:
    """Who meets whom in a balanced set of consultations: one JSON object a line.

    Cases are drawn so that specialty, prevalence, age, sex and comorbidity stay level, personas so that each of the
    sixteen types, the moods, literacy, education and means do; each persona goes with the age of the one who speaks.
    """
    for draw in stratified(_load(directory).list(), draws, seed):
        row = {"case_id": draw.case.case_id, "patient_seed": draw.seed, "persona": asdict(draw.persona)}
        typer.echo(json.dumps(row))


def _by_patient(found: Coverage) -> Table:
    sexes = [sex for sex in SEXES if sex != UNKNOWN or found.count(sex=sex)]
    table = Table(title=f"Cases by specialty, age and sex ({', '.join(sexes)})")
    table.add_column("specialty")
    for column in (*BANDS, "all"):
        table.add_column(column, justify="right")
    for specialty in (*found.specialties, ""):
        counts = [[found.count(specialty, band, sex) for sex in sexes] for band in (*BANDS, "")]
        cells = [" ".join(map(str, count)) if any(count) else "-" for count in counts]
        table.add_row(specialty or "all", *cells, end_section=specialty == found.specialties[-1])
    return table


def _by_category(found: list[Case]) -> Table:
    """So that a gap shows: a category that a case does not have cannot be asked for."""
    table = Table(title="Facts by category")
    for column in ("category", "facts", "cases", "not in"):
        table.add_column(column, justify="right" if column in ("facts", "cases") else "left")
    for category in Category:
        facts = Counter(case.case_id for case in found for fact in case.facts if fact.category is category)
        without = [case.case_id for case in found if case.case_id not in facts]
        table.add_row(category, str(facts.total()), str(len(facts)), ", ".join(without))
    return table


def _by_specialty(found: list[Case]) -> Table:
    table = Table(title="Cases by specialty")
    for column in ("specialty", "train", "held out", "patients"):
        table.add_column(column, justify="right" if column in ("train", "held out") else "left")
    for specialty in sorted({case.specialty for case in found}):
        cases_of = [case for case in found if case.specialty == specialty]
        splits = Counter(case.split for case in cases_of)
        patients = ", ".join(f"{case.sex or 'unknown'} {case.age_years}" for case in cases_of)
        table.add_row(specialty, str(splits[Split.TRAIN]), str(splits[Split.HELD_OUT]), patients)
    return table


def _load(directory: Path) -> CaseLibrary:
    try:
        return CaseLibrary.load(directory)
    except CaseError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
