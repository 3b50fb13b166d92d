"""The engine's own figures of its last step: running, waiting, cache use, prefix hits, what a draft got accepted."""

from __future__ import annotations

from typing import Any


class EngineGauges:
    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.kv_cache_usage = 0.0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.drafted = 0
        self.accepted = 0

    def stat_logger(self, config: Any, engine_index: int = 0) -> Any:
        """A vLLM stat logger that writes here."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        gauges = self

        class Logger(StatLoggerBase):  # type: ignore[misc]
            def __init__(self) -> None:
                pass

            def record(self, scheduler_stats: Any, *args: Any, **more: Any) -> None:
                if scheduler_stats is not None:
                    gauges.take(scheduler_stats)

            def log_engine_initialized(self) -> None:
                pass

        return Logger()

    def take(self, stats: Any) -> None:
        self.running = stats.num_running_reqs
        self.waiting = stats.num_waiting_reqs + stats.num_skipped_waiting_reqs
        self.kv_cache_usage = stats.kv_cache_usage
        self.prefix_queries += stats.prefix_cache_stats.queries
        self.prefix_hits += stats.prefix_cache_stats.hits
        if stats.spec_decoding_stats is not None:
            self.drafted += stats.spec_decoding_stats.num_draft_tokens
            self.accepted += stats.spec_decoding_stats.num_accepted_tokens
