"""A bare vLLM engine in a process of its own, as a benchmark drives it: one line of JSON out, one back.

See rollout_engine.py for the other side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_svc.settings import InferenceSettings

# prompt (token ids), tokens (how many to sample), seed, temperature
Turn = dict[str, Any]


class EngineProcess:
    def __init__(self, settings: InferenceSettings, log: Path) -> None:
        arguments = json.dumps(settings.model_dump(mode="json", exclude_unset=True))
        # What this process set for itself (or was given for the stack) must not differ from the service's process.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")}
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.rollout_engine", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self._answer()

    def replay(self, episodes: Sequence[Sequence[Turn]], concurrency: int) -> float:
        """Seconds for all of them, `concurrency` episodes at once, the turns of each one after the other."""
        return float(self._ask({"episodes": episodes, "concurrency": concurrency})["seconds"])

    def first_token(self, turn: Turn) -> float:
        """Seconds until the first token of a request that is alone."""
        return float(self._ask({"first_token_of": turn})["seconds"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        """The next line of JSON; vLLM writes other lines to stdout too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"the bare engine ended; see {self._log.name}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()
