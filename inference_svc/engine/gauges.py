"""The engine's own figures of its last step: running, waiting, cache use, prefix hits, what a draft got accepted.

Invariant: speculation that turns itself off or on again is an event: it is logged, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from inference_svc.engine.speculation import SPECULATION, SpeculationState

log = logging.getLogger(__name__)


class EngineGauges:
    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.kv_cache_usage = 0.0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.rounds = 0
        self.drafted = 0
        self.accepted = 0
        # None without speculation, and before the first step.
        self.speculation: SpeculationState | None = None
        # Called after each engine step that gave a token to anybody.
        self.tokens_came: Callable[[], None] = lambda: None

    def stat_logger(self) -> Any:
        """A kind of vLLM stat logger that writes here, in place of the Prometheus metrics that nobody would read."""
        from vllm.v1.metrics.loggers import PrometheusStatLogger

        gauges = self

        class Logger(PrometheusStatLogger):  # type: ignore[misc]
            def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
                pass

            def record(self, scheduler_stats: Any, iteration_stats: Any, *args: Any, **more: Any) -> None:
                if scheduler_stats is not None:
                    gauges.take(scheduler_stats)
                if iteration_stats is not None and iteration_stats.num_generation_tokens:
                    gauges.tokens_came()

            def log_engine_initialized(self) -> None:
                pass

            def record_admission_rejection(self, reason: str) -> None:
                pass

        return Logger

    def take(self, stats: Any) -> None:
        self.running = stats.num_running_reqs
        self.waiting = stats.num_waiting_reqs + stats.num_skipped_waiting_reqs
        self.kv_cache_usage = stats.kv_cache_usage
        self.prefix_queries += stats.prefix_cache_stats.queries
        self.prefix_hits += stats.prefix_cache_stats.hits
        if stats.spec_decoding_stats is not None:
            self.rounds += stats.spec_decoding_stats.num_drafts
            self.drafted += stats.spec_decoding_stats.num_draft_tokens
            self.accepted += stats.spec_decoding_stats.num_accepted_tokens
        if stats.kv_connector_stats is not None:
            self._take_speculation(SpeculationState(**stats.kv_connector_stats[SPECULATION]))

    def _take_speculation(self, now: SpeculationState) -> None:
        before, self.speculation = self.speculation, now
        if before is None or before.active == now.active:
            return
        figures = {"accepted_per_round": now.accepted_per_round, "break_even": now.break_even}
        if now.active:
            log.info("speculation is tried again", extra=figures)
        else:
            log.warning("speculation does not pay and turned itself off", extra=figures)
