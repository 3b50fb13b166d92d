"""An OSCE on the running stack: the policy interviews the simulator's patients, the frozen model judges with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anamnesis.rubric.v1 import evaluation_pb2
from gateway.client import AnamnesisClient

if TYPE_CHECKING:
    from tests.conftest import RunningStack

pytestmark = pytest.mark.engine


async def test_a_user_starts_an_osce_and_watches_it_to_its_scores(stack: RunningStack) -> None:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        spec = evaluation_pb2.EvaluationSpec(benchmark=evaluation_pb2.BENCHMARK_OSCE, candidate="policy", limit=2)
        started = await client.start_evaluation(spec)
        seen = [evaluation async for evaluation in client.watch_evaluation(started.evaluation_id)]
    assert seen[-1].state == evaluation_pb2.EVALUATION_STATE_SUCCEEDED, seen[-1].error
    assert (seen[-1].done, seen[-1].total, seen[-1].ungraded, dict(seen[-1].unplayed)) == (2, 2, 0, {})
    means = {mean.name: mean.value for mean in seen[-1].means}
    assert {"overall", "station:history", "station:examination", "station:communication"} <= means.keys()
