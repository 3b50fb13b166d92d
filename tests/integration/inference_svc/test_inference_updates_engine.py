"""Weights change under a running engine: exactly, or not at all. Each test begins and ends with the base weights."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from anamnesis.common.v1 import rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.integration.inference_svc.inference_requests import SECONDS, Answer, answer, generation
from tests.integration.inference_svc.reference_model import ReferenceModel, base_weights, publish, shifted

if TYPE_CHECKING:
    from tests.conftest import RunningStack

pytestmark = pytest.mark.engine
# Longer than a prefix-cache block, so that stale blocks would be reused.
QUESTION = "I have had a cough for two weeks, and since yesterday there is some blood in what I bring up. What now?"


@dataclass
class Weights:
    stub: InferenceServiceStub
    store: Path
    base: dict[str, torch.Tensor]
    run: str

    def put(self, step: int, weights: dict[str, torch.Tensor]) -> pb.UpdateWeightsRequest:
        path = f"{self.run}/0-{step}"
        digest = publish(self.store, path, weights)
        return pb.UpdateWeightsRequest(
            version=rollout_pb2.PolicyVersion(run_id=self.run, step=step),
            path=path,
            format=pb.WEIGHT_FORMAT_SAFETENSORS_FULL,
            sha256=digest,
            in_flight=pb.IN_FLIGHT_DRAIN,
        )

    async def update(self, request: pb.UpdateWeightsRequest) -> pb.UpdateWeightsResponse:
        response: pb.UpdateWeightsResponse = await self.stub.UpdateWeights(request, timeout=SECONDS)
        return response

    async def version(self) -> rollout_pb2.PolicyVersion:
        stats: pb.GetStatsResponse = await self.stub.GetStats(pb.GetStatsRequest(), timeout=SECONDS)
        return stats.policy_version


@pytest.fixture
async def weights(policy: InferenceServiceStub, stack: RunningStack, model_directory: Path) -> AsyncIterator[Weights]:
    base = base_weights(model_directory)
    run = f"updates-{time.monotonic_ns()}"
    store = stack.state_dir / "weights"
    # Other tests of the session may have left a trained policy serving.
    before = Weights(policy, store, base, f"{run}-before")
    await before.update(before.put(0, base))
    yield Weights(policy, store, base, run)
    after = Weights(policy, store, base, f"{run}-after")
    await after.update(after.put(0, base))


async def greedy(stub: InferenceServiceStub) -> Answer:
    return await answer(stub, generation(QUESTION, 24, temperature=0.0))


async def test_an_update_changes_the_answer_and_going_back_restores_it_exactly(
    policy: InferenceServiceStub, weights: Weights, reference: ReferenceModel, tolerance: float
) -> None:
    before = await greedy(policy)
    other = shifted(weights.base, 1)
    response = await weights.update(weights.put(1, other))
    assert response.version == rollout_pb2.PolicyVersion(run_id=weights.run, step=1)
    assert response.load_duration.ToTimedelta().total_seconds() > 0
    after = await greedy(policy)
    reference.load(other)
    assert after.logprobs == pytest.approx(reference.logprobs(after.prompt, after.token_ids), abs=tolerance)
    reference.load(weights.base)
    assert after.token_ids != before.token_ids
    assert [run.policy_version.step for run in after.finished.version_runs] == [1]
    await weights.update(weights.put(2, weights.base))
    again = await greedy(policy)
    assert again.token_ids == before.token_ids
    assert again.logprobs == pytest.approx(before.logprobs, abs=1e-4)


async def test_the_same_version_again_is_welcome_and_an_older_one_is_not(weights: Weights) -> None:
    first, second = weights.put(1, weights.base), weights.put(2, weights.base)
    await weights.update(second)
    await weights.update(second)
    with pytest.raises(grpc.aio.AioRpcError) as older:
        await weights.update(first)
    assert older.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (await weights.version()).step == 2


async def test_what_does_not_fit_changes_nothing(policy: InferenceServiceStub, weights: Weights) -> None:
    before, version = await greedy(policy), await weights.version()
    wrong_digest = weights.put(1, weights.base)
    wrong_digest.sha256 = "0" * 64
    missing = weights.put(2, weights.base)
    missing.path = "nobody/0-2"
    outside = weights.put(3, weights.base)
    outside.path = "../models/smollm2-135m-instruct"
    name = "model.layers.3.mlp.down_proj.weight"
    misshapen = weights.put(4, weights.base | {name: weights.base[name].T.contiguous()})
    codes = []
    for request in (wrong_digest, missing, outside, misshapen):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await weights.update(request)
        codes.append(refused.value.code())
    code = grpc.StatusCode
    assert codes == [code.FAILED_PRECONDITION, code.NOT_FOUND, code.INVALID_ARGUMENT, code.FAILED_PRECONDITION]
    after = await greedy(policy)
    assert (after.token_ids, after.logprobs) == (before.token_ids, before.logprobs)
    assert await weights.version() == version


async def under_way(stub: InferenceServiceStub, tokens: int, seed: int) -> tuple[Answer, asyncio.Task[None]]:
    """A generation that has begun."""
    gathered = Answer()
    begun = asyncio.Event()

    async def read() -> None:
        async for event in stub.Generate(generation(QUESTION, tokens, seed=seed), timeout=SECONDS):
            gathered.take(event)
            if len(gathered.token_ids) >= 4:
                begun.set()

    reading = asyncio.create_task(read())
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return gathered, reading


async def test_drain_lets_requests_in_flight_end_on_the_old_version(
    policy: InferenceServiceStub, weights: Weights
) -> None:
    served = await weights.version()
    request = weights.put(1, shifted(weights.base, 2))
    gathered, reading = await under_way(policy, 200, seed=5)
    response = await weights.update(request)
    await reading
    assert response.drained == 1
    (run,) = gathered.finished.version_runs
    assert (run.policy_version, run.token_count) == (served, len(gathered.token_ids))


async def test_abort_ends_requests_in_flight_with_what_they_have(
    policy: InferenceServiceStub, weights: Weights
) -> None:
    request = weights.put(1, weights.base)
    request.in_flight = pb.IN_FLIGHT_ABORT
    gathered, reading = await under_way(policy, 1000, seed=6)
    response = await weights.update(request)
    await reading
    assert response.aborted == 1
    assert gathered.finished.finish_reason == pb.FINISH_REASON_ABORTED
    assert sum(run.token_count for run in gathered.finished.version_runs) == len(gathered.token_ids)


async def test_continue_switches_in_mid_sequence_and_says_which_token_is_whose(
    policy: InferenceServiceStub, weights: Weights, reference: ReferenceModel, tolerance: float
) -> None:
    other = shifted(weights.base, 3)
    request = weights.put(1, other)
    request.in_flight = pb.IN_FLIGHT_CONTINUE
    gathered, reading = await under_way(policy, 80, seed=11)
    response = await weights.update(request)
    await reading
    assert response.continued == 1
    old, new = gathered.finished.version_runs
    assert (new.policy_version.run_id, new.policy_version.step) == (weights.run, 1)
    assert old.token_count + new.token_count == len(gathered.token_ids)
    switch = old.token_count
    by_old = reference.logprobs(gathered.prompt, gathered.token_ids)
    reference.load(other)
    by_new = reference.logprobs(gathered.prompt, gathered.token_ids)
    reference.load(weights.base)
    # Rounding grows with the distance from the likeliest token.
    assert gathered.logprobs[:switch] == pytest.approx(by_old[:switch], abs=tolerance, rel=0.06)
    assert gathered.logprobs[switch:] == pytest.approx(by_new[switch:], abs=tolerance, rel=0.06)
    assert gathered.logprobs[switch:] != pytest.approx(by_old[switch:], abs=tolerance, rel=0.06)


async def test_an_adapter_is_served_as_its_base_with_it_merged_and_a_wrong_one_changes_nothing(
    policy: InferenceServiceStub, weights: Weights, reference: ReferenceModel, tolerance: float, model_directory: Path
) -> None:
    other = put_adapter(weights, model_directory, 1, rank=8)
    await weights.update(other)
    answered = await greedy(policy)
    assert [run.policy_version.step for run in answered.finished.version_runs] == [1]
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(str(model_directory), dtype=torch.float32), str(weights.store / other.path)
    )
    with torch.inference_mode():
        logits = adapted(torch.tensor([[*answered.prompt, *answered.token_ids]])).logits[0, len(answered.prompt) - 1 :]
    expected = [row.log_softmax(-1)[i].item() for row, i in zip(logits, answered.token_ids, strict=False)]
    of_base = reference.logprobs(answered.prompt, answered.token_ids)
    assert answered.logprobs == pytest.approx(expected, abs=tolerance, rel=0.06)
    assert 4 * distance(answered.logprobs, expected) < distance(answered.logprobs, of_base)
    wrong = put_adapter(weights, model_directory, 2, rank=8)
    config = weights.store / wrong.path / "adapter_config.json"
    config.write_text(config.read_text().replace("smollm2-135m-instruct", "another-model"))
    with pytest.raises(grpc.aio.AioRpcError, match="another-model"):
        await weights.update(wrong)
    assert (await greedy(policy)).logprobs == pytest.approx(answered.logprobs, abs=1e-4)
    assert (await weights.version()).step == 1


def distance(some: Sequence[float], others: Sequence[float]) -> float:
    return statistics.fmean(abs(one - other) for one, other in zip(some, others, strict=True))


def put_adapter(weights: Weights, model_directory: Path, step: int, rank: int) -> pb.UpdateWeightsRequest:
    path = f"{weights.run}/0-{step}"
    torch.manual_seed(step)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    network = AutoModelForCausalLM.from_pretrained(str(model_directory), dtype=torch.float32)
    adapter = get_peft_model(network, config)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_" in name:
                parameter.mul_(1.5)
    adapter.save_pretrained(str(weights.store / path))
    return pb.UpdateWeightsRequest(
        version=rollout_pb2.PolicyVersion(run_id=weights.run, step=step),
        path=path,
        format=pb.WEIGHT_FORMAT_SAFETENSORS_LORA,
        sha256=hashlib.sha256((weights.store / path / "adapter_model.safetensors").read_bytes()).hexdigest(),
        in_flight=pb.IN_FLIGHT_DRAIN,
    )
