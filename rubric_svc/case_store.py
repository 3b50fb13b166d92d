"""Cases by id, from the directory that every replica mounts.

The files are the simulator's (simulator_svc/cases/data describes them); here only what a rubric needs is read. A file
is read when it is asked for, so a case that is added needs no restart.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from rubric_svc.model import Case, Category, Fact, Sex
from service_kit.errors import FailedPrecondition, NotFound


class CaseStore:
    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def get(self, case_id: str) -> Case:
        if self._directory is None:
            raise FailedPrecondition("CASE_STORE_UNSET", "no case store is set: send the case inline")
        for file in sorted(self._directory.glob("*.toml")):
            try:
                table = tomllib.loads(file.read_text(encoding="utf-8"))
                if table.get("case_id") == case_id:
                    return _case(table)
            except (tomllib.TOMLDecodeError, KeyError, TypeError, OSError) as error:
                if file.stem == case_id:
                    raise FailedPrecondition("CASE_UNREADABLE", f"{file.name}: {error}") from error
        raise NotFound("case", case_id)

    def names(self, *, split: str) -> list[str]:
        """Of one part of the library: "train" or "held_out". Raises FailedPrecondition for a file that is no TOML."""
        found = []
        for file in sorted(self._directory.glob("*.toml")) if self._directory else ():
            try:
                table = tomllib.loads(file.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise FailedPrecondition("CASE_UNREADABLE", f"{file.name}: {error}") from error
            if table.get("split", "train") == split:
                found.append(str(table["case_id"]))
        return found


def _case(table: dict[str, Any]) -> Case:
    facts = [
        Fact(row["id"], Category[name.upper()], row["text"], row.get("spoken", ""), tuple(row.get("cues", ())))
        for name, rows in table["facts"].items()
        for row in (rows if isinstance(rows, list) else [rows])
    ]
    return Case(
        table["case_id"],
        tuple(facts),
        tuple(table.get("diagnosis_names", ())),
        table.get("age_years"),
        Sex[table.get("sex", "unspecified").upper()],
    )
