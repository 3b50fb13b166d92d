"""A Dockerfile as its instructions, continuation lines joined."""

from __future__ import annotations

import shlex
from pathlib import Path

Instruction = tuple[str, list[str]]


def instructions(file: Path) -> list[Instruction]:
    """("COPY", ["service_kit", "./service_kit"]), in order."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            found.append((name, shlex.split(arguments)))
    return found


def copied_from_context(file: Path) -> list[tuple[str, str]]:
    """(source in the repository, target in the image) of every COPY that takes from no other stage."""
    copies = [arguments for name, arguments in instructions(file) if name == "COPY"]
    return [(source, copy[-1]) for copy in copies if not copy[0].startswith("--from") for source in copy[:-1]]


def last(file: Path, name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions(file) if instruction == name][-1]


def variables(file: Path) -> dict[str, str]:
    """What ENV sets for the process."""
    pairs = [pair for name, arguments in instructions(file) if name == "ENV" for pair in arguments]
    return dict(pair.split("=", 1) for pair in pairs)
