"""One import: read, clear, draft, build, check, write, and account for every record.

Invariant: every record ends as one case file or as one refusal with its position and reason, and nothing of a record is
read before it was cleared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from simulator_svc.cases.deidentify import Deidentifier, NotCleared
from simulator_svc.cases.importers import dialogue, fhir, mediq, osce
from simulator_svc.cases.importers.build import build
from simulator_svc.cases.importers.draft import Draft, Format, Refused
from simulator_svc.cases.importers.reading import Record
from simulator_svc.cases.importers.report import Refusal, Report, SourceUnreadable
from simulator_svc.cases.model import Case, Split
from simulator_svc.cases.parse import CaseError, parse_case
from simulator_svc.cases.write import to_toml


@dataclass(frozen=True, slots=True)
class Importer:
    records: Callable[[Path], Iterator[Record]]
    draft: Callable[[Record, Deidentifier], Draft]


_IMPORTERS = {
    Format.OSCE: Importer(osce.records, osce.draft),
    Format.MEDIQ: Importer(mediq.records, mediq.draft),
    Format.FHIR: Importer(fhir.records, fhir.draft),
    Format.DIALOGUE: Importer(dialogue.records, dialogue.draft),
}


def import_cases(
    format: Format, source: Path, out: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Report:
    """Writes one file a case into `out`. Raises SourceUnreadable."""
    importer = _IMPORTERS[format]
    deidentifier = Deidentifier()
    report = Report()
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.glob("*.toml")):
            raise SourceUnreadable(f"{out} holds case files already; choose an empty directory")
        every = list(importer.records(source))
        for done, record in enumerate(every, 1):
            try:
                case, notes = _imported(importer, format, record, deidentifier)
            except Refused as error:
                report.refused.append(Refusal(record.position, error.field, error.reason))
            else:
                (out / f"{case.case_id}.toml").write_text(to_toml(case), encoding="utf-8")
                report.imported += 1
                report.splits[case.split or Split.TRAIN] += 1
                report.facts.update(fact.category for fact in case.facts)
                report.notes.update(notes)
            progress(done, len(every))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a text in UTF-8"
        raise SourceUnreadable(f"{source}: {reason}") from None
    report.removed = Counter({category.value: count for category, count in deidentifier.removed.items()})
    return report


def _imported(
    importer: Importer, format: Format, record: Record, deidentifier: Deidentifier
) -> tuple[Case, Counter[str]]:
    if record.problem:
        raise Refused(record.problem)
    try:
        draft = importer.draft(record, deidentifier)
    except NotCleared as error:
        raise Refused(str(error)) from None
    digest = sha256("\n".join(statement.text for statement in draft.statements).encode()).hexdigest()
    built = build(draft, f"{format}-{record.number:05d}-{digest[:8]}")
    try:  # what the library would refuse is no case
        return parse_case(to_toml(built.case), "case"), built.notes
    except CaseError as error:
        raise Refused(f"makes no valid case ({error.problem})", error.field) from None
