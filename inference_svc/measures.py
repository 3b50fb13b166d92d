"""What the service counts and traces. Never any text.

Invariant: each request that reached the engine is counted once as finished, aborted or failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation

from inference_svc.engine import Finish, Rank, Step
from inference_svc.gauges import EngineGauges
from service_kit.errors import ServiceError

tracer = trace.get_tracer(__name__)
meter = metrics.get_meter(__name__)


class RequestRecord:
    def __init__(self) -> None:
        self.generated = 0
        self.cached = 0
        self.finish: Finish | None = None
        self.first_token_at: float | None = None

    def step(self, step: Step) -> None:
        if self.first_token_at is None and step.token_ids:
            self.first_token_at = time.monotonic()
        self.generated += len(step.token_ids)
        self.cached = step.cached_prompt_tokens
        self.finish = step.finish


class Measures:
    def __init__(self, deployment: str, gauges: EngineGauges) -> None:
        self._deployment = deployment
        self._gauges = gauges
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.finished = 0
        self.aborted = 0
        self.failed = 0
        self.updates = 0
        self.update_seconds = 0.0
        self._tokens = meter.create_counter("inference.tokens", unit="{token}", description="Prompt and generated")
        self._requests = meter.create_counter("inference.requests", unit="{request}", description="By outcome")
        self._first = meter.create_histogram("inference.time_to_first_token", unit="s")
        self._duration = meter.create_histogram("inference.request.duration", unit="s")
        self._update = meter.create_histogram("inference.weights.update.duration", unit="s")
        for name, attribute in (
            ("inference.engine.running", "running"),
            ("inference.engine.waiting", "waiting"),
            ("inference.engine.kv_cache_usage", "kv_cache_usage"),
        ):
            meter.create_observable_gauge(name, [self._observe(attribute)])
        for name, attribute in (
            ("inference.prefix_cache.queries", "prefix_queries"),
            ("inference.prefix_cache.hits", "prefix_hits"),
        ):
            meter.create_observable_counter(name, [self._observe(attribute)], unit="{token}")

    @contextmanager
    def request(self, model: str, rank: Rank, prompt_tokens: int) -> Iterator[RequestRecord]:
        began = time.monotonic()
        record = RequestRecord()
        attributes = {"gen_ai.request.model": model, "anamnesis.priority": rank.name.lower()}
        with tracer.start_as_current_span("engine.generate", attributes=attributes) as span:
            outcome = "aborted"  # unless it ends: the caller may go away at any step
            try:
                yield record
                outcome = "finished" if record.finish not in (None, Finish.ABORTED) else "aborted"
            except ServiceError:
                outcome = "failed"
                raise
            finally:
                self._count(outcome, rank, prompt_tokens, record)
                span.set_attributes(
                    {
                        "gen_ai.usage.input_tokens": prompt_tokens,
                        "gen_ai.usage.output_tokens": record.generated,
                        "gen_ai.response.finish_reasons": [str(record.finish or "none")],
                        "anamnesis.cached_prompt_tokens": record.cached,
                    }
                )
                labels = {"deployment": self._deployment, "priority": rank.name.lower()}
                self._duration.record(time.monotonic() - began, labels)
                if record.first_token_at is not None:
                    self._first.record(record.first_token_at - began, labels)

    def scored(self, model: str, rank: Rank, prompt_tokens: int) -> None:
        """A choice was scored: one request that generates nothing."""
        self._count("finished", rank, prompt_tokens, RequestRecord())

    def updated(self, seconds: float) -> None:
        self.updates += 1
        self.update_seconds += seconds
        self._update.record(seconds, {"deployment": self._deployment})

    def _count(self, outcome: str, rank: Rank, prompt_tokens: int, record: RequestRecord) -> None:
        self.prompt_tokens += prompt_tokens
        self.generated_tokens += record.generated
        self.finished += outcome == "finished"
        self.aborted += outcome == "aborted"
        self.failed += outcome == "failed"
        labels = {"deployment": self._deployment, "priority": rank.name.lower()}
        self._requests.add(1, {**labels, "outcome": outcome})
        for kind, count in (("prompt", prompt_tokens), ("generated", record.generated)):
            self._tokens.add(count, {**labels, "kind": kind})

    def _observe(self, attribute: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(getattr(self._gauges, attribute), {"deployment": self._deployment})

        return observe
