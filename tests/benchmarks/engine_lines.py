"""An engine in a process of its own, as a benchmark drives it: one line of JSON in, one back.

Invariant: the process has nothing of what this one set for itself or was given for the stack, and it ends with `close`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

LEAVE_SECONDS = 30.0


class EngineDied(Exception):
    """It could not start or ended."""


class EngineLines:
    def __init__(self, command: Sequence[str], job: dict[str, Any], log: Path) -> None:
        """Raises EngineDied; returns when the engine's first line is there, `ready`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")}
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [*command, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        try:
            self.ready = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        """The next line that is JSON; libraries print too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise self._died()

    def _died(self) -> EngineDied:
        return EngineDied(f"the engine ended; its log is {self._log.name}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
