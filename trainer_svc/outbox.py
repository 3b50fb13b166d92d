"""Requests to the rollout workers: in the ledger first, then in the log, then marked as sent. Each starts its trace."""

import time
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.context import Context

from anamnesis.common.v1 import rollout_pb2
from service_kit.errors import ServiceError
from service_kit.kafka.producer import Delivery, EventProducer
from trainer_svc.ledger import Entry, Ledger
from trainer_svc.requests import Plan

REQUESTS_TOPIC = "anamnesis.rollout.requests.v1"
PUBLISH_SECONDS = 60.0

_tracer = trace.get_tracer(__name__)


class LogUnavailable(Exception):
    """The broker did not take requests, or did not give trajectories, in time."""


class Outbox:
    def __init__(
        self,
        producer: EventProducer,
        ledger: Ledger,
        plan: Plan,
        incarnation: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._producer = producer
        self._ledger = ledger
        self._plan = plan
        self._incarnation = incarnation
        self._clock = clock

    def ask(
        self,
        entries: Sequence[Entry],
        fragments: Sequence[rollout_pb2.FragmentContext],
        version: rollout_pb2.PolicyVersion,
    ) -> None:
        expires_at = self._clock() + self._plan.config.schedule.request_ttl_seconds
        self._ledger.publish(entries, self._incarnation, expires_at)
        try:
            waiting = [self._send(self._plan.request(entry, fragments, version, expires_at)) for entry in entries]
            for future in waiting:
                future.result(PUBLISH_SECONDS)
        except ServiceError as error:
            raise LogUnavailable(f"the broker did not take requests: {error.message}") from error
        self._ledger.sent(entries)

    def _send(self, request: rollout_pb2.RolloutRequest) -> Delivery:
        attributes = {
            "anamnesis.request_id": request.request_id,
            "anamnesis.run_id": request.run_id,
            "anamnesis.purpose": rollout_pb2.Purpose.Name(request.purpose),
        }
        # A root of its own: one trace an episode, wherever the run's own spans are.
        span = _tracer.start_span("trainer.request", Context(), attributes=attributes)
        with trace.use_span(span, end_on_exit=True):
            context = trace.set_span_in_context(span, Context())
            return self._producer.publish(REQUESTS_TOPIC, request, key=request.group_id, context=context)
