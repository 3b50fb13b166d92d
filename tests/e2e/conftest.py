"""One smoke run of the whole loop, shared by the tests of what it left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gateway.client import AnamnesisClient
from tests.e2e.finished_run import FinishedRun


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def smoke_run(stack: Any) -> AsyncIterator[FinishedRun]:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        run = await client.start_run("smoke", seed=7)
        events = [event async for event in client.watch_run(run.run_id)]
        yield FinishedRun(await client.get_run(run.run_id), events)
