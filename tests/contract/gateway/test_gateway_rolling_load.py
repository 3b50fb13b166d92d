"""The load of `make rolling-restart` sees what it is there to see: calls that fail, and streams that are cut."""

from __future__ import annotations

import asyncio
from typing import Any

from anamnesis.common.v1 import patient_pb2
from tests.benchmarks.rolling_load import MIX, WATCH, WATCHERS, Load, Tally


async def played(target: str, seconds: float) -> Tally:
    tally = Tally()
    load = Load(target, "r1", patient_pb2.Persona(), tally, retry_seconds=0.3)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(seconds)
    load.stop()
    await asyncio.wait_for(running, 30)
    return tally


async def test_every_call_of_dead_services_is_a_failure_and_none_is_dropped(start_gateway: Any) -> None:
    gateway = await start_gateway()
    tally = await played(gateway.target, 3.0)
    assert tally.failures[WATCH] == WATCHERS
    calls = {what: tally.requests[what] for what in MIX}
    assert sum(calls.values()) > 10
    assert {what: tally.failures[what] for what in MIX} == calls
    assert all(tally.attempts[what] >= count for what, count in calls.items())


async def test_a_watch_that_is_cut_and_says_so_is_resumed_and_no_failure(
    start_gateway: Any, breaking_trainer: Any
) -> None:
    gateway = await start_gateway(trainer_target=breaking_trainer.target)
    tally = await played(gateway.target, 3.0)
    assert tally.interrupted[WATCH] >= 2 * WATCHERS
    assert tally.failures[WATCH] == 0
    assert tally.requests[WATCH] == WATCHERS
