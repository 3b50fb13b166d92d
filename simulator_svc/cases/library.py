"""The cases that a replica can play by id: every *.toml of one directory, each validated when loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from service_kit.errors import NotFound
from simulator_svc.cases.model import Case, Split
from simulator_svc.cases.parse import CaseError, parse_case

BUILT_IN = Path(__file__).parent / "data"


class CaseLibrary:
    def __init__(self, cases: Iterable[Case]) -> None:
        self._cases = {case.case_id: case for case in sorted(cases, key=lambda case: case.case_id)}

    @classmethod
    def load(cls, directory: Path | None = None) -> CaseLibrary:
        """Raises CaseError, which names file and field, for the first file that is not a valid case."""
        cases: dict[str, Case] = {}
        files = sorted((directory or BUILT_IN).glob("*.toml"))
        if not files:
            raise CaseError(str(directory or BUILT_IN), "", "holds no case file (*.toml)")
        for file in files:
            case = parse_case(file.read_text(encoding="utf-8"), file.name)
            if case.case_id in cases:
                raise CaseError(file.name, "case_id", f"another file has {case.case_id!r} too")
            cases[case.case_id] = case
        return cls(cases.values())

    def get(self, case_id: str) -> Case:
        if case_id not in self._cases:
            raise NotFound("case", case_id)
        return self._cases[case_id]

    def list(self, split: Split | None = None, specialty: str = "") -> list[Case]:
        """In the order of their ids."""
        return [
            case
            for case in self._cases.values()
            if (split is None or case.split is split) and (not specialty or case.specialty == specialty)
        ]
