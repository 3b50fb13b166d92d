"""What a run asks of the rollout workers and what comes back: asked, received, settled, each request once.

Invariant: every wait ends: with an order to stop (Halt), with a log that stays away (LogUnavailable), or because
nothing came for too long (Stalled). What was asked for has an outcome before it is forgotten.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from anamnesis.common.v1 import rollout_pb2
from trainer_svc.figures import measures
from trainer_svc.flow.groups import Groups, drop_reason
from trainer_svc.flow.inbox import Bookmark, Inbox, Received
from trainer_svc.flow.outbox import Outbox
from trainer_svc.flow.patience import Patience
from trainer_svc.flow.requests import TRAIN, Trainable
from trainer_svc.records.ledger import DROPPED, USED, Entry, Ledger, Outcome
from trainer_svc.records.orders import Orders

POLL_SECONDS = 0.25


class Stalled(Exception):
    """No trajectory came for as long as a run may stand still."""


class Exchange:
    def __init__(
        self,
        *,
        ledger: Ledger,
        orders: Orders,
        outbox: Outbox,
        inbox: Inbox,
        patience: Patience,
        next_checkpoint: Callable[[], int],
        answer_seconds: float,
    ) -> None:
        """`answer_seconds`: what is collected may be so long without another answer."""
        # Where training trajectories go as they come.
        self.groups = Groups()
        self._ledger = ledger
        self._orders = orders
        self._outbox = outbox
        self._inbox = inbox
        self._patience = patience
        self._next_checkpoint = next_checkpoint
        self._answer_seconds = answer_seconds
        self._entries: dict[str, Entry] = {}
        self._waited_since = time.monotonic()

    def expect(self, entries: Iterable[Entry]) -> None:
        """They were asked for already, by an earlier incarnation."""
        self._entries.update({entry.request_id: entry for entry in entries})

    def ask(self, entries: Sequence[Entry], pool: Sequence[Trainable], version: rollout_pb2.PolicyVersion) -> None:
        self.expect(entries)
        self._outbox.ask(entries, pool, version)
        self.wait_from_now()

    def wait_from_now(self) -> None:
        self._waited_since = time.monotonic()

    def receive(self, waiting_for: str) -> None:
        """One poll."""
        self._orders.check()
        received = self._patience.outlast(lambda: self._inbox.receive(POLL_SECONDS))
        for item in received:
            entry = self._entries[item.trajectory.request.request_id]
            if entry.purpose == TRAIN:
                self.groups.add(entry.group_index, item.trajectory)
        if received:
            self.wait_from_now()
        elif (waited := time.monotonic() - self._waited_since) > self._patience.seconds:
            raise Stalled(f"no trajectory came for {waited:.0f} s; waited for {waiting_for}")

    def held(self, request_id: str) -> Received | None:
        """What came of a request that is not settled yet."""
        return self._inbox.held(request_id)

    def collect(
        self,
        entries: Sequence[Entry],
        good: tuple[rollout_pb2.TerminalState.ValueType, ...],
        pool: Sequence[Trainable],
        version: rollout_pb2.PolicyVersion,
        told: Callable[[int, int], None],
    ) -> list[tuple[Entry, rollout_pb2.Trajectory]]:
        """Asks for single trajectories and waits for all of them; settled, and in the order of `entries`.

        `told` hears how many of how many have come.
        """
        new = [entry for entry in entries if self._ledger.outcome(entry.request_id) is None]
        if new:
            self.ask(new, pool, version)
        self.wait_from_now()
        deadline = time.monotonic()
        done = -1
        while True:
            found = [self.held(entry.request_id) for entry in entries]
            arrived = sum(received is not None for received in found)
            if arrived > done:
                done = arrived
                deadline = time.monotonic() + self._answer_seconds
                told(done, len(entries))
            if done == len(entries) or time.monotonic() > deadline:
                break
            self.receive(f"{len(entries) - done} of {len(entries)} requests, the first {entries[0].request_id}")
        outcomes, kept = [], []
        for entry, received in zip(entries, found, strict=True):
            if received is None:
                outcomes.append(Outcome(entry.request_id, DROPPED, "timeout"))
            elif received.trajectory.terminal_state in good:
                outcomes.append(Outcome(entry.request_id, USED))
                kept.append((entry, received.trajectory))
            else:
                outcomes.append(Outcome(entry.request_id, DROPPED, drop_reason(received.trajectory)))
        self.settle(outcomes)
        return kept

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Committed under the number of the checkpoint that comes next: rolled back if that is never written."""
        self._ledger.settle(outcomes, self._next_checkpoint())
        self._inbox.settle(outcome.request_id for outcome in outcomes)
        for outcome in outcomes:
            entry = self._entries.pop(outcome.request_id, None)
            if outcome.reason:
                measures.count_dropped(entry.purpose if entry else "", outcome.reason)

    def drop_training(self, reason: str) -> None:
        """The training requests that no step needs any more."""
        leftovers = [Outcome(entry.request_id, DROPPED, reason) for entry in self._ledger.outstanding(TRAIN)]
        self.groups = Groups()
        if leftovers:
            self.settle(leftovers)

    def bookmark(self) -> Bookmark:
        return self._inbox.bookmark()
