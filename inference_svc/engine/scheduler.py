"""vLLM's scheduler, proposing tokens only where that pays. Imported by the engine's process alone.

vLLM keeps a table of how many tokens to propose at each batch size (num_speculative_tokens_per_batch_size). The watch
looks on at each step's end and swaps that table for one of zeros, so no request is touched and nothing is loaded again.
A custom scheduler is an option of vLLM's but no stable interface: written for the version that is pinned.

What the watch knows travels to the service in the statistics of the KV connector, which nothing else uses here.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from inference_svc.engine.speculation import SPECULATION, SpeculationWatch


class WatchingScheduler(Scheduler):  # type: ignore[misc]
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._watch = SpeculationWatch(**self.vllm_config.additional_config[SPECULATION], clock=time.monotonic)
        self._table: list[int] = list(self.dynamic_sd_lookup)
        self._zeros = [0] * len(self._table)
        self._ended_at = time.monotonic()
        self._accepted = 0
        self._rounds = 0

    def schedule(self, *args: Any, **more: Any) -> Any:
        self.dynamic_sd_lookup: list[int] = self._table if self._watch.proposes else self._zeros
        return super().schedule(*args, **more)

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        self._accepted = self._rounds = 0
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        now = time.monotonic()
        scheduled = scheduler_output.num_scheduled_tokens
        proposed = scheduler_output.scheduled_spec_decode_tokens
        alone = len(scheduled) == 1 and all(n == 1 + len(proposed.get(r, ())) for r, n in scheduled.items())
        self._watch.step(now - self._ended_at, rounds=self._rounds, accepted=self._accepted, alone=alone)
        self._ended_at = now
        return outputs

    def make_spec_decoding_stats(self, *args: Any, num_draft_tokens: int, num_accepted_tokens: int, **more: Any) -> Any:
        self._rounds += num_draft_tokens > 0
        self._accepted += num_accepted_tokens
        return super().make_spec_decoding_stats(
            *args, num_draft_tokens=num_draft_tokens, num_accepted_tokens=num_accepted_tokens, **more
        )

    def make_stats(self, *args: Any, **more: Any) -> Any:
        stats = super().make_stats(*args, **more)
        if stats is not None:
            stats.kv_connector_stats = {SPECULATION: asdict(self._watch.state)}
        return stats


class WatchingAsyncScheduler(WatchingScheduler, AsyncScheduler):  # type: ignore[misc]
    """Where vLLM schedules a step ahead of the sampled tokens."""
