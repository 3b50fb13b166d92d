"""A bare vLLM engine with the service's own arguments; rollout_engine.py is the other side of its lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_svc.settings import InferenceSettings
from tests.benchmarks.engine_lines import EngineLines

COMMAND = (sys.executable, "-m", "tests.benchmarks.rollout_engine")

# prompt (token ids), tokens (how many to sample), seed, temperature
Turn = dict[str, Any]


class BareEngine(EngineLines):
    def __init__(self, settings: InferenceSettings, log: Path) -> None:
        super().__init__(COMMAND, settings.model_dump(mode="json", exclude_unset=True), log)

    def replay(self, episodes: Sequence[Sequence[Turn]], concurrency: int) -> float:
        """Seconds for all of them, `concurrency` episodes at once, the turns of each one after the other."""
        return float(self.ask({"episodes": episodes, "concurrency": concurrency})["seconds"])

    def first_token(self, turn: Turn) -> float:
        """Seconds until the first token of a request that is alone."""
        return float(self.ask({"first_token_of": turn})["seconds"])
