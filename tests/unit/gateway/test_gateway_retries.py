"""A client sends again what changes nothing, and what was refused before it began; never more, and not for ever."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.client.retries import Retries
from service_kit.errors import STREAM_INTERRUPTED, Code, NotFound, ServiceError, Unavailable


def gone(reason: str = "UNAVAILABLE") -> Unavailable:
    error = Unavailable("gateway", "not reachable")
    error.metadata["dependency_reason"] = reason
    return error


async def outcome(errors: Sequence[ServiceError], *, reads: bool, seconds: float = 5.0) -> tuple[str, Retries]:
    """What the caller sees, and the counters: the attempts fail with `errors` and succeed after them."""
    retries = Retries(seconds, first_pause=0.01)
    left = list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "answered"

    try:
        return await retries.call(attempt, reads=reads), retries
    except ServiceError as error:
        return error.reason, retries


async def test_a_reading_call_is_sent_again_until_it_is_answered() -> None:
    told, retries = await outcome([gone(), gone(), gone("DEPENDENCY_UNAVAILABLE")], reads=True)
    assert (told, retries.calls, retries.attempts) == ("answered", 1, 4)


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", STREAM_INTERRUPTED])
async def test_a_call_that_may_have_had_an_effect_is_sent_once(reason: str) -> None:
    told, retries = await outcome([gone(reason)], reads=False)
    assert (told, retries.attempts) == ("DEPENDENCY_UNAVAILABLE", 1)


@pytest.mark.parametrize("reason", ["SERVICE_DRAINING", "SERVICE_STARTING"])
async def test_a_call_that_was_refused_before_it_began_is_sent_again(reason: str) -> None:
    told, retries = await outcome([gone(reason)], reads=False)
    assert (told, retries.attempts) == ("answered", 2)


async def test_an_answer_that_says_no_is_an_answer() -> None:
    told, retries = await outcome([NotFound("run", "r1")], reads=True)
    assert (told, retries.attempts) == ("RUN_NOT_FOUND", 1)


async def test_it_ends() -> None:
    told, retries = await outcome([gone()] * 1000, reads=True, seconds=0.2)
    assert told == "DEPENDENCY_UNAVAILABLE"
    assert 2 <= retries.attempts < 50


async def test_a_wait_that_the_other_end_asks_for_and_that_is_too_long_is_not_waited() -> None:
    busy = gone()
    busy.retry_after = 60.0
    told, retries = await outcome([busy], reads=True, seconds=1.0)
    assert (told, retries.attempts) == ("DEPENDENCY_UNAVAILABLE", 1)
    assert busy.code is Code.UNAVAILABLE
