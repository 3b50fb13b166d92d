"""Records from files, each with its position: a line or an entry, never a name or number that the record itself bears.

A file that was found in a directory is called by its place there ("file 3"), since such names often are a patient's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from simulator_svc.cases.deidentify import Deidentifier, NotCleared, readable
from simulator_svc.cases.importers.draft import Refused

T = TypeVar("T")
# A record longer than this is no case.
_LARGEST = 32 * 1024 * 1024
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Record:
    position: str
    number: int
    content: Any
    # Why it could not be read at all.
    problem: str = ""


def json_lines(source: Path) -> Iterator[Record]:
    """One record a line; raises OSError and UnicodeDecodeError for what is no text file."""
    number = 0
    for name, file in files(source, ".jsonl", ".json"):
        with file.open(encoding="utf-8") as lines:
            for index, line in enumerate(lines, 1):
                if line.strip():
                    number += 1
                    yield _parsed(line, f"{name}line {index}", number)


def files(source: Path, *endings: str) -> list[tuple[str, Path]]:
    """The source itself, or the files of the directory in order, each with what leads its records' positions."""
    if not source.is_dir():
        return [("", source)]
    found = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix.lower() in endings)
    return [(f"file {index} of {len(found)}, ", path) for index, path in enumerate(found, 1)]


def _parsed(text: str, position: str, number: int) -> Record:
    if len(text) > _LARGEST:
        return Record(position, number, None, "is too long for one case")
    try:
        return Record(position, number, json.loads(text))
    except (json.JSONDecodeError, RecursionError):
        return Record(position, number, None, "is not JSON")


def clear_tree(tree: Any, deidentifier: Deidentifier) -> Any:
    """The same tree with every text cleared. Raises Refused with the field of what cannot be, a key among them."""
    read: list[str] = []

    def take(text: str, field: str) -> str:
        read.append(_in(field, readable, text))
        return text

    _walk(tree, (), take, deidentifier)
    try:
        cleared = iter(deidentifier.clear_all(read))
    except NotCleared as error:
        raise Refused(str(error)) from None

    def put(text: str, field: str) -> str:
        clean = next(cleared)
        _in(field, deidentifier.refuse_leftovers, clean)
        return clean

    return _walk(tree, (), put, deidentifier)


def _in(field: str, check: Callable[[str], T], text: str) -> T:
    try:
        return check(text)
    except NotCleared as error:
        raise Refused(str(error), field) from None


def _walk(value: Any, path: tuple[str, ...], change: Callable[[str, str], str], deidentifier: Deidentifier) -> Any:
    """The tree with each text changed, in the order of the tree; `change` is told the field too."""
    field = ".".join(path[-3:])
    if len(path) > _DEEPEST:
        raise Refused("is nested too deeply", field)
    if isinstance(value, dict):
        if not all(map(deidentifier.allows_key, value)):
            raise Refused("holds a field whose name identifies someone", field)
        return {key: _walk(item, (*path, _shown(key)), change, deidentifier) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, path, change, deidentifier) for item in value]
    return change(value, field) if isinstance(value, str) else value


def _shown(key: str) -> str:
    """Only a plain key is shown in a message."""
    return key if key.replace("_", "").isalpha() and len(key) <= 40 else "..."


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text below with the keys that lead to it; numbers and truths as texts."""
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield from leaves(item, (*path, key))
    elif isinstance(tree, list):
        for item in tree:
            yield from leaves(item, path)
    elif isinstance(tree, bool):
        yield path, "yes" if tree else "no"
    elif tree is not None and str(tree).strip():
        yield path, str(tree).strip()
