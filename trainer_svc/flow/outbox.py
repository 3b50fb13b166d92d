"""Requests to the rollout workers: in the ledger first, then in the log, then marked as sent. Each starts its trace."""

import time
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.context import Context

from anamnesis.common.v1 import rollout_pb2
from service_kit.errors import Unavailable
from service_kit.kafka.producer import Delivery, EventProducer
from trainer_svc.flow.patience import Patience
from trainer_svc.flow.requests import Plan, Trainable
from trainer_svc.records.ledger import Entry, Ledger

REQUESTS_TOPIC = "anamnesis.rollout.requests.v1"
# Above the producer's own bound, so that a request is never sent again while the first may still arrive.
DELIVERY_MARGIN_SECONDS = 5.0

_tracer = trace.get_tracer(__name__)


class Outbox:
    def __init__(
        self,
        producer: EventProducer,
        ledger: Ledger,
        plan: Plan,
        incarnation: int,
        patience: Patience,
        delivery_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`delivery_seconds`: after them a message that the log has not acknowledged has failed."""
        self._patience = patience
        self._delivery_seconds = delivery_seconds + DELIVERY_MARGIN_SECONDS
        self._producer = producer
        self._ledger = ledger
        self._plan = plan
        self._incarnation = incarnation
        self._clock = clock

    def ask(
        self,
        entries: Sequence[Entry],
        pool: Sequence[Trainable],
        version: rollout_pb2.PolicyVersion,
    ) -> None:
        """Returns when all are in the log, each once. Raises LogUnavailable."""
        expires_at = self._clock() + self._plan.config.schedule.request_ttl_seconds
        self._ledger.publish(entries, self._incarnation, expires_at)
        left = list(entries)

        def send_those_left() -> None:
            nonlocal left
            failure: Unavailable | None = None
            waiting: list[tuple[Entry, Delivery]] = []
            try:
                for entry in left:
                    waiting.append((entry, self._send(self._plan.request(entry, pool, version, expires_at))))
            except Unavailable as error:
                failure = error
            delivered: list[Entry] = []
            for entry, delivery in waiting:
                try:
                    delivery.result(self._delivery_seconds)
                    delivered.append(entry)
                except Unavailable as error:
                    failure = error
            self._ledger.sent(delivered)
            left = [entry for entry in left if entry not in delivered]
            if failure is not None:
                raise failure

        self._patience.outlast(send_those_left)

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
