"""Cases for an evaluation: case files, or the records of others, imported into a scratch directory first."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from service_kit.errors import InvalidArgument
from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case
from simulator_svc.cases.parse import CaseError, parse_case


def load_cases(source: Path | None, most: int | None = None) -> list[Case]:
    """The library for None; a directory of case files, one case file, or a file that `cases import` reads.

    `most`: so many records of a file of JSON lines, the first ones.

    Raises InvalidArgument for anything else.
    """
    try:
        if source is None:
            return CaseLibrary.load().list()
        if source.suffix == ".toml":
            return [parse_case(source.read_text(encoding="utf-8"), source.name)]
        if source.is_dir() and any(source.glob("*.toml")):
            return CaseLibrary.load(source).list()
        return _imported(source, most)
    except (CaseError, OSError) as error:
        raise InvalidArgument("cases", f"{source}: {error}") from error


def _imported(source: Path, most: int | None) -> list[Case]:
    # Takes seconds to import, and most evaluations play the library.
    from simulator_svc.cases.importers.report import SourceUnreadable
    from simulator_svc.cases.importers.run import import_cases

    with TemporaryDirectory() as scratch:
        records, out = source, Path(scratch) / "cases"
        if most is not None and source.is_file():
            with source.open(encoding="utf-8") as lines:
                records = Path(scratch) / source.name
                records.write_text("".join(islice(lines, most)), encoding="utf-8")
        try:
            import_cases(_format(source), records, out)
        except SourceUnreadable as error:
            raise InvalidArgument("cases", f"{source}: {error}") from error
        return CaseLibrary.load(out).list()


def _format(source: Path) -> Format:
    """By the name, and by what the first record of a JSON-lines file has."""
    if source.is_dir() or source.suffix == ".json":
        return Format.FHIR
    if source.suffix == ".csv":
        return Format.DIALOGUE
    with source.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip()), "")
    if '"OSCE_Examination"' in first:
        return Format.OSCE
    if '"facts"' in first and '"context"' in first:
        return Format.MEDIQ
    raise InvalidArgument("cases", f"{source} holds neither case files nor records that `cases import` reads")
