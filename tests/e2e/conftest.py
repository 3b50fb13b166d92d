"""One smoke run of the whole loop, shared by the tests of what it left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient


@dataclass(frozen=True)
class FinishedRun:
    run: trainer_pb2.Run
    events: list[trainer_pb2.RunEvent]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def smoke_run(stack: Any) -> AsyncIterator[FinishedRun]:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        run = await client.start_run("smoke", seed=7)
        events = [event async for event in client.watch_run(run.run_id)]
        yield FinishedRun(await client.get_run(run.run_id), events)
