"""The deadline of the call being served, as a bound on every call that it makes in turn.

Invariant: an outgoing call never waits longer than the caller waits for us; it ends a little earlier, so that there
is time to say which dependency was late.
"""

from __future__ import annotations

import contextvars
import time

_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("incoming_deadline", default=None)

# Kept back for answering: a tenth of what remains, at most this.
_ANSWER_SECONDS = 0.25
# gRPC takes 0 as "already late" without asking the server, which is what an expired deadline means.
_LATE = 0.0


def enter_call(time_remaining: float | None) -> None:
    """Remember the incoming call's deadline; each call is served by a task of its own, so nothing is restored."""
    _deadline.set(None if time_remaining is None else time.monotonic() + time_remaining)


def call_deadline(limit: float) -> float:
    """The timeout for an outgoing call: `limit`, or less where the incoming call's deadline is nearer."""
    deadline = _deadline.get()
    if deadline is None:
        return limit
    remaining = deadline - time.monotonic()
    remaining -= min(_ANSWER_SECONDS, remaining / 10)
    return max(_LATE, min(limit, remaining))
