"""Reads the end of a process's log file: JSON lines mixed with whatever libraries print."""

from __future__ import annotations

import json
import re
from pathlib import Path

TAIL_BYTES = 64 * 1024
LOOKED_AT = 20
# A library's Python warning with the line of source that is quoted below it, and vLLM's own.
_WARNING = re.compile(r"\s|\S+\.py:\d+: \w*Warning:|\(\w+ pid=\d+\) WARNING ")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines that are not empty, without terminal escapes; none if there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    # A progress bar rewrites its line with \r: only its last state counts.
    lines = [_ESCAPES.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).rstrip() for line in text.split("\n")]
    return [line for line in lines if line.strip()][-count:]


def last_message(path: Path) -> str:
    """What the process last said, in words: the message of a JSON line, or the line itself; no library's warning."""
    for line in reversed(last_lines(path, LOOKED_AT)):
        if _WARNING.match(line):
            continue
        try:
            record = json.loads(line)
        except ValueError:
            return line.strip()
        return str(record.get("message", line)) if isinstance(record, dict) else line
    return ""
