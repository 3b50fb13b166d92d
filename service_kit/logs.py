"""Logs as JSON lines on stderr, each with the ids of the span it was written in.

Invariant: one event is one line, and what a line says beyond its message comes from `extra=`. Bodies of messages
(dialogues, cases, prompts) are never logged: ids, counts, codes and durations are.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from opentelemetry import trace

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# They tell of every reconnection and every poll at INFO, and kafka-python of every message's content at DEBUG.
_QUIET = ("kafka", "grpc", "httpx", "httpcore", "urllib3", "opentelemetry")


class JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class Sparing(logging.Filter):
    """Lets one event of a kind through in a while: Kafka's client tells of an absent broker ten times a second."""

    def __init__(self, prefix: str, seconds: float) -> None:
        super().__init__()
        self._prefix = prefix
        self._seconds = seconds
        self._last: dict[tuple[str, str], float] = {}
        self._suppressed: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self._prefix and not record.name.startswith(f"{self._prefix}."):
            return True
        # The template, not the text: it is the same for every connection and error.
        kind = (record.name, str(record.msg))
        if record.created - self._last.get(kind, float("-inf")) < self._seconds:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return False
        self._last[kind] = record.created
        if suppressed := self._suppressed.pop(kind, 0):
            record.suppressed = suppressed
        return True


def configure_logging(service: str, level: str) -> None:
    """Route every logger to stderr as JSON. A second call replaces the first."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    handler.addFilter(Sparing("kafka", seconds=30))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
