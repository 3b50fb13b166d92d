"""How an episode ends other than COMPLETED: a terminal state with a stable reason."""

from __future__ import annotations

from anamnesis.common.v1.rollout_pb2 import TerminalState
from service_kit.errors import Code, ServiceError


class Ended(Exception):
    """Ends the episode. `reason` is a stable name that a ledger can count by; `detail` is for the log."""

    def __init__(self, state: TerminalState.ValueType, reason: str, detail: str = "") -> None:
        super().__init__(f"{TerminalState.Name(state)}: {reason}: {detail}")
        self.state = state
        self.reason = reason
        self.detail = detail


def ended_by(error: ServiceError, state: TerminalState.ValueType, party: str) -> Ended:
    """A failed call as the end of an episode, e.g. `policy_unavailable`, `judge_deadline_exceeded`."""
    return Ended(state, f"{party}_{_CAUSES.get(error.code, 'failed')}", f"{error.reason}: {error.message}")


_CAUSES = {
    Code.UNAVAILABLE: "unavailable",
    Code.RESOURCE_EXHAUSTED: "exhausted",
    Code.DEADLINE_EXCEEDED: "deadline_exceeded",
    Code.ABORTED: "aborted",
    Code.INVALID_ARGUMENT: "rejected",
    Code.NOT_FOUND: "rejected",
    Code.FAILED_PRECONDITION: "rejected",
    Code.UNIMPLEMENTED: "unimplemented",
    Code.UNAUTHENTICATED: "unauthorized",
    Code.PERMISSION_DENIED: "unauthorized",
}
