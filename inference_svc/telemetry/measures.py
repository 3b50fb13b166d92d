"""What the service counts and traces. Never any text.

Invariant: each request that reached the engine has a span and is counted once as finished, aborted or failed. Of an
answer that was to be given whole and was given up, the tokens are not known, and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from inference_svc.engine.gauges import EngineGauges
from inference_svc.engine.requests import Finish, Rank, Step
from inference_svc.telemetry import gen_ai
from service_kit.errors import ServiceError
from service_kit.spans import ERROR_TYPE, error_type, fail, traced

_tracer = trace.get_tracer(__name__)
_meter = metrics.get_meter(__name__)
ABORTED = "aborted"


class RequestRecord:
    def __init__(self) -> None:
        self.generated = 0
        self.cached = 0
        self.finish: Finish | None = None
        self.began = time.monotonic()
        self.first_token_at: float | None = None

    def step(self, step: Step) -> None:
        self.first_token_at = self.first_token_at or step.first_token_at
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
        # When the update began whose first token has not come yet.
        self._updating_since: float | None = None
        gauges.tokens_came = self._token_came
        self._tokens = _meter.create_counter("inference.tokens", unit="{token}", description="Prompt and generated")
        self._requests = _meter.create_counter("inference.requests", unit="{request}", description="By outcome")
        self._first = _histogram(
            "gen_ai.server.time_to_first_token", "Until a request's first token", gen_ai.FIRST_TOKEN_BUCKETS
        )
        self._next = _histogram(
            "gen_ai.server.time_per_output_token", "Of each token after the first", gen_ai.NEXT_TOKEN_BUCKETS
        )
        self._duration = _histogram(
            "gen_ai.server.request.duration", "Until a request's last token", gen_ai.DURATION_BUCKETS
        )
        self._update = _histogram(
            "inference.weights.update.duration", "Until new weights are served", gen_ai.DURATION_BUCKETS
        )
        self._first_of_new = _histogram(
            "inference.weights.update.first_token",
            "From an update's begin until new weights gave a token to a request that waited",
            gen_ai.DURATION_BUCKETS,
        )
        for name, attribute, unit, description in (
            ("inference.engine.running", "running", "{request}", "Requests in the batch"),
            ("inference.engine.waiting", "waiting", "{request}", "Requests that wait for a place in the batch"),
            ("inference.engine.kv_cache_usage", "kv_cache_usage", "1", "Share of the KV cache in use"),
        ):
            _meter.create_observable_gauge(name, [self._observe(attribute)], unit, description)
        for name, attribute, description in (
            ("inference.prefix_cache.queries", "prefix_queries", "Prompt tokens looked up in the prefix cache"),
            ("inference.prefix_cache.hits", "prefix_hits", "Prompt tokens found in the prefix cache"),
            ("inference.speculation.drafted", "drafted", "Tokens that the draft proposed; none without speculation"),
            ("inference.speculation.accepted", "accepted", "Proposed tokens that the model accepted"),
        ):
            _meter.create_observable_counter(name, [self._observe(attribute)], "{token}", description)
        _meter.create_observable_counter(
            "inference.speculation.rounds", [self._observe("rounds")], "{round}", "Proposals that the model judged"
        )
        for name, of, unit, description in (
            ("inference.speculation.active", "active", "1", "1 while tokens are proposed, 0 once that did not pay"),
            ("inference.speculation.break_even", "break_even", "{token}", "Accepted tokens a round that pay for it"),
        ):
            _meter.create_observable_gauge(name, [self._observe_speculation(of)], unit, description)

    @contextmanager
    def request(
        self,
        operation: gen_ai.Operation,
        model: str,
        rank: Rank,
        prompt_tokens: int,
        sampling: Mapping[str, AttributeValue],
    ) -> Iterator[RequestRecord]:
        record = RequestRecord()
        asked = gen_ai.asked(operation, model) | {"anamnesis.priority": rank.name.lower()}
        with traced(_tracer, f"{operation} {model}", {**asked, **sampling, gen_ai.RESPONSE_MODEL: model}) as span:
            outcome, failure = ABORTED, ABORTED  # unless it ends: the caller may go away at any step
            try:
                yield record
                if record.finish in (None, Finish.ABORTED):
                    fail(span, ABORTED)
                else:
                    outcome, failure = "finished", ""
            except ServiceError as error:
                outcome, failure = "failed", error_type(error)
                raise
            finally:
                self._count(outcome, rank, prompt_tokens, record)
                self._tell(span, record, prompt_tokens)
                self._time(record, asked | ({ERROR_TYPE: failure} if failure else {}))

    def updated(self, seconds: float, awaited: bool) -> None:
        """`awaited`: requests are in flight, so the next token is theirs and not somebody's who comes later."""
        self.updates += 1
        self.update_seconds += seconds
        self._update.record(seconds, {"deployment": self._deployment})
        self._updating_since = time.monotonic() - seconds if awaited else None

    def _token_came(self) -> None:
        if self._updating_since is not None:
            self._first_of_new.record(time.monotonic() - self._updating_since, {"deployment": self._deployment})
            self._updating_since = None

    def _tell(self, span: Span, record: RequestRecord, prompt_tokens: int) -> None:
        span.set_attributes(
            {
                gen_ai.INPUT_TOKENS: prompt_tokens,
                gen_ai.OUTPUT_TOKENS: record.generated,
                gen_ai.CACHED_TOKENS: record.cached,
                gen_ai.FINISH_REASONS: [str(record.finish or "none")],
            }
        )

    def _time(self, record: RequestRecord, attributes: Mapping[str, AttributeValue]) -> None:
        now = time.monotonic()
        self._duration.record(now - record.began, attributes)
        if record.first_token_at is None or ERROR_TYPE in attributes:
            return
        self._first.record(record.first_token_at - record.began, attributes)
        if record.generated > 1:
            self._next.record((now - record.first_token_at) / (record.generated - 1), attributes)

    def _count(self, outcome: str, rank: Rank, prompt_tokens: int, record: RequestRecord) -> None:
        self.prompt_tokens += prompt_tokens
        self.generated_tokens += record.generated
        self.finished += outcome == "finished"
        self.aborted += outcome == ABORTED
        self.failed += outcome == "failed"
        labels = {"deployment": self._deployment, "priority": rank.name.lower()}
        self._requests.add(1, {**labels, "outcome": outcome})
        for kind, count in (("prompt", prompt_tokens), ("generated", record.generated)):
            self._tokens.add(count, {**labels, "kind": kind})

    def _observe(self, attribute: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(getattr(self._gauges, attribute), {"deployment": self._deployment})

        return observe

    def _observe_speculation(self, attribute: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            state = self._gauges.speculation
            value = None if state is None else getattr(state, attribute)
            if value is not None:
                yield Observation(float(value), {"deployment": self._deployment})

        return observe


@contextmanager
def embedding(model: str, texts: int) -> Iterator[None]:
    attributes = gen_ai.asked(gen_ai.Operation.EMBEDDINGS, model) | {"anamnesis.texts": texts}
    with traced(_tracer, f"{gen_ai.Operation.EMBEDDINGS} {model}", attributes):
        yield


def _histogram(name: str, description: str, buckets: tuple[float, ...]) -> metrics.Histogram:
    return _meter.create_histogram(name, unit="s", description=description, explicit_bucket_boundaries_advisory=buckets)
