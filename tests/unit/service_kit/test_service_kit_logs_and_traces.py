"""Log lines are JSON with the span they belong to; the trace context travels in headers."""

from __future__ import annotations

import json
import logging

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from service_kit.logs import JsonFormatter, Sparing
from service_kit.telemetry import context_from_headers, trace_headers

SPAN = SpanContext(0x1234, 0x56, is_remote=False, trace_flags=TraceFlags(1))


def formatted(message: str, *arguments: object, **extra: object) -> dict[str, object]:
    record = logging.getLogger("probe").makeRecord("probe", logging.INFO, "f", 1, message, arguments, None, extra=extra)
    line = JsonFormatter("simulator").format(record)
    assert "\n" not in line
    parsed: dict[str, object] = json.loads(line)
    return parsed


def test_a_line_has_its_service_level_logger_message_and_extras() -> None:
    line = formatted("case %s\nread", "c1", facts=3)
    assert line["service"] == "simulator"
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "probe", "case c1\nread")
    assert line["facts"] == 3


def test_a_line_names_the_span_it_was_written_in() -> None:
    assert "trace_id" not in formatted("outside")
    with trace.use_span(NonRecordingSpan(SPAN)):
        line = formatted("inside")
    assert line["trace_id"] == f"{0x1234:032x}"
    assert line["span_id"] == f"{0x56:016x}"


def test_what_is_no_json_is_written_as_text() -> None:
    assert formatted("x", what=SPAN)["what"]


def test_extras_cannot_overwrite_what_the_line_is() -> None:
    assert formatted("x", service="forged", trace_id="forged")["service"] == "simulator"


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("boo")
    except ValueError as error:
        information = (type(error), error, error.__traceback__)
    record = logging.getLogger("probe").makeRecord("probe", logging.ERROR, "f", 1, "x", (), information)
    line = JsonFormatter("s").format(record)
    assert "\n" not in line and "ValueError: boo" in json.loads(line)["exception"]


def test_a_chatty_client_is_heard_once_in_a_while_and_the_rest_is_counted() -> None:
    def event(name: str, created: float) -> logging.LogRecord:
        record = logging.getLogger(name).makeRecord(name, logging.ERROR, "f", 1, "node %s is away", ("n1",), None)
        record.created = created
        return record

    sparing = Sparing("kafka", seconds=30)
    assert [sparing.filter(event("kafka.cluster", at)) for at in (0, 1, 29)] == [True, False, False]
    later = event("kafka.cluster", 31)
    assert sparing.filter(later) and later.__dict__["suppressed"] == 2
    assert sparing.filter(event("kafkaesque", 0)) and sparing.filter(event("kafkaesque", 0))


def test_the_trace_context_survives_the_headers() -> None:
    context = trace.set_span_in_context(NonRecordingSpan(SPAN), Context())
    headers = trace_headers(context)
    assert [name for name, _ in headers] == ["traceparent"]
    again = trace.get_current_span(context_from_headers(headers)).get_span_context()
    assert (again.trace_id, again.span_id, again.is_remote) == (SPAN.trace_id, SPAN.span_id, True)


def test_no_or_broken_headers_are_no_context() -> None:
    for headers in ([], [("traceparent", b"\xff\xfe nonsense")], [("traceparent", b"00-0-0-00")]):
        assert not trace.get_current_span(context_from_headers(headers)).get_span_context().is_valid


def test_outside_of_any_span_there_are_no_headers() -> None:
    assert trace_headers(Context()) == []
