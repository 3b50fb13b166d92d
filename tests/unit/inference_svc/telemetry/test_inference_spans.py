"""Every generation has a span that says how it ended, in the GenAI conventions' words, and none of its words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import StatusCode

from inference_svc.engine.gauges import EngineGauges
from inference_svc.engine.requests import Finish, Rank, Sampling, Step
from inference_svc.telemetry import gen_ai, measures
from inference_svc.telemetry.measures import Measures
from service_kit.errors import Unavailable

SAMPLING = Sampling(max_tokens=8, temperature=0.5, seed=7, stop=("my name is Ada",))


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(measures, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def play(figures: Measures, *steps: Step, error: BaseException | None = None) -> None:
    asked = gen_ai.sampled_with(SAMPLING)
    with figures.request(gen_ai.Operation.CHAT, "smollm2", Rank.ROLLOUT, 5, asked) as record:
        for step in steps:
            record.step(step)
        if error is not None:
            raise error


def only(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, dict[str, object]]:
    (span,) = exporter.get_finished_spans()
    return span, dict(span.attributes or {})


def test_a_finished_generation_says_what_it_was_asked_and_what_it_cost(exporter: InMemorySpanExporter) -> None:
    figures = Measures("policy", EngineGauges())
    play(figures, Step("a", [1, 2], [0.0, 0.0]), Step("", [3], [0.0], Finish.LENGTH, cached_prompt_tokens=4))
    span, attributes = only(exporter)
    assert (span.name, span.status.status_code) == ("chat smollm2", StatusCode.UNSET)
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "smollm2",
        "gen_ai.response.model": "smollm2",
        "gen_ai.request.max_tokens": 8,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.seed": 7,
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.response.finish_reasons": ("length",),
        "anamnesis.priority": "rollout",
    }
    assert figures.finished == 1


def test_a_failed_generation_has_its_span_with_the_reason(exporter: InMemorySpanExporter) -> None:
    figures = Measures("policy", EngineGauges())
    with pytest.raises(Unavailable):
        play(figures, Step("a", [1], [0.0]), error=Unavailable("engine", "died at 'my name is Ada'"))
    span, attributes = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert attributes["error.type"] == Unavailable("engine", "").reason
    assert attributes["gen_ai.usage.output_tokens"] == 1
    assert figures.failed == 1
    assert "Ada" not in span.to_json()


def test_a_generation_that_new_weights_abort_has_its_span(exporter: InMemorySpanExporter) -> None:
    figures = Measures("policy", EngineGauges())
    play(figures, Step("a", [1], [0.0]), Step("", [], [], Finish.ABORTED))
    span, attributes = only(exporter)
    assert (span.status.status_code, attributes["error.type"]) == (StatusCode.ERROR, "aborted")
    assert attributes["gen_ai.response.finish_reasons"] == ("abort",)
    assert figures.aborted == 1


def test_a_generation_whose_caller_goes_away_has_its_span(exporter: InMemorySpanExporter) -> None:
    figures = Measures("policy", EngineGauges())
    with pytest.raises(GeneratorExit):
        play(figures, Step("a", [1], [0.0]), error=GeneratorExit())
    span, attributes = only(exporter)
    assert (span.status.status_code, attributes["error.type"]) == (StatusCode.UNSET, "cancelled")
    assert figures.aborted == 1


def test_the_names_are_those_of_the_conventions() -> None:
    ours = {value for name, value in vars(gen_ai).items() if name.isupper() and isinstance(value, str)}
    known = {value for name, value in vars(gen_ai_attributes).items() if name.isupper()}
    assert ours and ours <= known


def test_the_time_to_the_first_new_token_is_told_once_and_only_of_requests_that_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gauges = EngineGauges()
    figures = Measures("policy", gauges)
    told: list[float] = []
    monkeypatch.setattr(figures._first_of_new, "record", lambda seconds, attributes: told.append(seconds))
    figures.updated(2.0, False)
    gauges.tokens_came()
    assert told == []
    figures.updated(2.0, True)
    gauges.tokens_came()
    gauges.tokens_came()
    assert len(told) == 1 and 2.0 <= told[0] < 3.0
