"""Retries: bounded, of what may pass only, and cancelled by the caller's deadline."""

from __future__ import annotations

import asyncio

import pytest

from service_kit.errors import Aborted, InvalidArgument, ResourceExhausted, ServiceError, Unavailable
from simulator_svc.rollout.patience import Patience

QUICK = Patience(seconds=0.3, first_pause=0.01, longest_pause=0.05)


class Fails:
    def __init__(self, *errors: ServiceError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_what_may_pass_is_tried_again() -> None:
    call = Fails(Unavailable("x", ""), ResourceExhausted("FULL", ""), Aborted("GENERATION_ABORTED", ""))
    assert await QUICK.attempt(call) == "done"
    assert call.calls == 4


async def test_what_cannot_pass_is_raised_at_once() -> None:
    call = Fails(InvalidArgument("prompt", "?"))
    with pytest.raises(InvalidArgument):
        await QUICK.attempt(call)
    assert call.calls == 1


async def test_patience_ends() -> None:
    call = Fails(*[Unavailable("x", "") for _ in range(1000)])
    with pytest.raises(Unavailable):
        await asyncio.wait_for(QUICK.attempt(call), 2)
    assert 3 < call.calls < 50


async def test_the_servers_retry_after_is_kept() -> None:
    started = asyncio.get_running_loop().time()
    assert await QUICK.attempt(Fails(ResourceExhausted("FULL", "", retry_after=0.2))) == "done"
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_the_callers_deadline_cuts_patience_short() -> None:
    call = Fails(*[Unavailable("x", "") for _ in range(1000)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await Patience(seconds=60, first_pause=0.01).attempt(call)
