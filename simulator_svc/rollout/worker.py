"""The loop between the two topics: take requests, play them, publish one terminal record each, commit what is done.

Invariants: one thread calls the consumer; an offset is committed only when every request before it has its terminal
record on the broker; no more is taken than can be played at once. What is not finished when the process ends is
uncommitted: it is played again, and its trajectory_id is the same.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.trace import Span

from anamnesis.common.v1.rollout_pb2 import (
    Purpose,
    RolloutKind,
    RolloutRequest,
    TerminalState,
    Trajectory,
)
from service_kit.errors import ResourceExhausted, Unavailable
from service_kit.kafka.consumer import EventConsumer, Record
from service_kit.kafka.producer import EventProducer
from service_kit.spans import fail, traced
from simulator_svc.rollout import measures
from simulator_svc.rollout.commits import CommitTracker
from simulator_svc.rollout.episode import without_content
from simulator_svc.rollout.patience import Patience
from simulator_svc.rollout.requests import is_readable

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)
P = ParamSpec("P")
T = TypeVar("T")

REQUESTS = "anamnesis.rollout.requests.v1"
TRAJECTORIES = "anamnesis.rollout.trajectories.v1"

# While every place is taken the consumer is still polled this often, or its group would think it dead.
FULL_WAIT_SECONDS = 1.0
LAG_SECONDS = 5.0
# While the broker is away it is asked for again after pauses that double from the first to the longest.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class RolloutWorker:
    def __init__(
        self,
        *,
        consumer: EventConsumer[RolloutRequest],
        producer: EventProducer,
        play: Callable[[RolloutRequest], Awaitable[Trajectory]],
        give_up: Callable[[RolloutRequest, str], Trajectory],
        concurrency: int,
        poll_seconds: float,
        publish_seconds: float,
        drain_seconds: float,
    ) -> None:
        """`play` ends every request; `give_up` makes the record of one that `play` had a bug with."""
        self._consumer = consumer
        self._producer = producer
        self._play = play
        self._give_up = give_up
        self._concurrency = concurrency
        self._poll_seconds = poll_seconds
        self._publish_seconds = publish_seconds
        self._drain_seconds = drain_seconds
        # A record that cannot be published now keeps its place, and nothing behind it is committed.
        self._patience = Patience(seconds=math.inf)
        self._tracker = CommitTracker()
        self._playing: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "rollout-consumer")
        self._lag_read_at = 0.0
        self._away_pause = 0.0
        consumer.on_rebalance(revoked=self._revoked)

    @property
    def playing(self) -> int:
        return len(self._playing)

    @property
    def available(self) -> bool:
        """False while the broker is away."""
        return self._away_pause == 0.0

    def stop(self) -> None:
        """Take no more; `run` returns once what is played has finished, or the drain bound has passed."""
        self._stopping.set()

    async def run(self) -> None:
        """Returns after `stop`. A broker that is away is waited for; anything else that fails ends the process."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._take()
                    await self._commit()
                    await self._read_lag()
                except Unavailable as error:
                    await self._rest(error)
            await self._drain()
        finally:
            await self._close()

    async def _rest(self, error: Unavailable) -> None:
        """The broker is away. What is played goes on, and keeps its record until it is back."""
        self._away_pause = min(max(FIRST_PAUSE_SECONDS, self._away_pause * 2), LONGEST_PAUSE_SECONDS)
        self._lag_read_at = 0.0  # asked for at once, since its answer says that the broker is back
        logger.warning("the broker is away", extra={"error": error.message, "pause_seconds": self._away_pause})
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._away_pause)

    async def _take(self) -> None:
        """Fill the free places; without one, wait for one, and tell the group that this consumer lives."""
        self._raise_failures()
        free = self._concurrency - len(self._playing)
        if free <= 0:
            await asyncio.wait(self._playing.values(), timeout=FULL_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            free = self._concurrency - len(self._playing)
        if free <= 0:
            await self._on_consumer(self._consumer.keep_alive)
            return
        for record in await self._on_consumer(self._consumer.poll, self._poll_seconds, free):
            place = (record.partition, record.offset)
            # Delivered again by a rebalance, it may still be played here, or have been.
            if not self._tracker.take(*place) or place in self._playing:
                continue
            self._playing[place] = asyncio.create_task(self._serve(record), name=f"episode-{place}")

    async def _serve(self, record: Record[RolloutRequest]) -> None:
        started = time.perf_counter()
        request = record.message
        if not is_readable(request):
            await self._patience.attempt(
                lambda: self._on_consumer(self._consumer.reject, record, "UNADDRESSABLE", "no request_id or no run_id")
            )
        else:
            with record.processing(), traced(tracer, "rollout.episode", _attributes(request)) as span:
                trajectory = await self._played(request)
                _tell(span, trajectory)
                await self._patience.attempt(partial(asyncio.to_thread, self._publish, trajectory))
                measures.count(trajectory, time.perf_counter() - started)
        self._tracker.finish(record.partition, record.offset)
        del self._playing[record.partition, record.offset]

    async def _played(self, request: RolloutRequest) -> Trajectory:
        try:
            return await self._play(request)
        except Exception:  # the edge: a bug in one episode is that episode's end, and the next ones are played
            logger.exception("a bug ended an episode", extra={"request_id": request.request_id})
            return self._give_up(request, "internal_error")

    def _publish(self, trajectory: Trajectory) -> None:
        """Returns once the record is on the broker. One that is too large for it goes without its content."""
        key = trajectory.request.group_id or trajectory.request.request_id
        try:
            self._producer.publish(TRAJECTORIES, trajectory, key=key).result(self._publish_seconds)
        except ResourceExhausted:
            bare = without_content(trajectory)
            self._producer.publish(TRAJECTORIES, bare, key=key).result(self._publish_seconds)

    async def _commit(self) -> None:
        offsets = self._tracker.committable(await self._on_consumer(self._consumer.positions))
        if offsets:
            ours = await self._on_consumer(self._consumer.commit, offsets)
            if ours:
                self._tracker.committed(offsets)

    def _revoked(self, partitions: set[int]) -> None:
        """Called in Kafka's thread, while the partitions are still ours: the last chance to commit."""
        offsets = {p: o for p, o in self._tracker.committable().items() if p in partitions}
        if offsets:
            self._consumer.commit(offsets)
        self._tracker.revoke(partitions)

    def _raise_failures(self) -> None:
        for task in list(self._playing.values()):
            if task.done():
                task.result()

    async def _read_lag(self) -> None:
        now = time.monotonic()
        if now - self._lag_read_at >= LAG_SECONDS:
            await self._on_consumer(self._consumer.lag)
            self._lag_read_at = now
            self._away_pause = 0.0

    async def _drain(self) -> None:
        until = time.monotonic() + self._drain_seconds
        while self._playing and (left := until - time.monotonic()) > 0:
            self._raise_failures()
            await asyncio.wait(
                self._playing.values(), timeout=min(left, FULL_WAIT_SECONDS), return_when=asyncio.FIRST_COMPLETED
            )
            with suppress(Unavailable):
                await self._on_consumer(self._consumer.keep_alive)
                await self._commit()
        with suppress(Unavailable):
            await self._commit()

    async def _close(self) -> None:
        left_over = list(self._playing.values())
        for task in left_over:
            task.cancel()
        await asyncio.gather(*left_over, return_exceptions=True)
        if left_over:
            logger.warning("left unfinished, to be played again", extra={"episodes": len(left_over)})
        with suppress(Unavailable):
            await self._on_consumer(self._consumer.close)
        self._thread.shutdown()

    async def _on_consumer(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A call of the consumer, in its one thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))


def _attributes(request: RolloutRequest) -> dict[str, str]:
    return {
        "anamnesis.request_id": request.request_id,
        "anamnesis.run_id": request.run_id,
        "anamnesis.group_id": request.group_id,
        "anamnesis.kind": RolloutKind.Name(request.kind) if request.kind in RolloutKind.values() else "",
        "anamnesis.purpose": Purpose.Name(request.purpose) if request.purpose in Purpose.values() else "",
    }


def _tell(span: Span, trajectory: Trajectory) -> None:
    state = TerminalState.Name(trajectory.terminal_state)
    span.set_attributes({"anamnesis.terminal_state": state, "anamnesis.reasons": list(trajectory.reasons)})
    if state.endswith("_ERROR"):
        fail(span, trajectory.reasons[0] if trajectory.reasons else state)
