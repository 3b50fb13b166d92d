"""The step under way, until it is a checkpoint: what was judged for it, its span, and where its time goes."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context

from trainer_svc.flow.groups import FreshMember, Judged

_tracer = trace.get_tracer(__name__)


@dataclass
class Step:
    """Its judged groups (dropped ones too), its span, and the seconds of each phase."""

    judged: list[Judged] = field(default_factory=list)
    span: trace.Span = trace.INVALID_SPAN
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    training_since: float = 0.0
    cpu_since: float = 0.0

    @property
    def groups(self) -> list[list[FreshMember]]:
        return [group.members for group in self.judged if group.members]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - started

    def begin_span(self, run_id: str, number: int, episodes: Iterable[trace.SpanContext]) -> int:
        """A step joins many episodes' traces: it links to each. Returns to how many."""
        links = [trace.Link(episode) for episode in episodes if episode.is_valid]
        attributes: dict[str, str | int] = {"anamnesis.run_id": run_id, "anamnesis.step": number}
        self.span = _tracer.start_span("trainer.step", Context(), links=links, attributes=attributes)
        return len(links)
