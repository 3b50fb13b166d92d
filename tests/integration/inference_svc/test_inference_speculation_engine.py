"""An engine of its own that speculates, samples what the model would, and stops when that does not pay."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from inference_svc.engine.speculation import WINDOW_ROUNDS
from service_kit.grpc.channel import open_channel
from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import StackDefinition, load_definition
from tests.conftest import free_port_offset, state_directory
from tests.integration.inference_svc.inference_requests import SECONDS, answer, batch, generation, message
from tests.integration.inference_svc.reference_model import TOLERANCE, ReferenceModel

pytestmark = [pytest.mark.engine, pytest.mark.slow]
NAME = "inference-frozen"
REPETITIVE = "Say again and again: chest pain, chest pain, chest pain, chest pain."


@pytest.fixture(scope="module")
def speculating(stack_state_dir: Path) -> Iterator[LocalStack]:
    alone = StackDefinition(process=(load_definition().find(NAME),))
    settings = {
        "ANAMNESIS_INFERENCE_SPECULATION": "ngram",
        "ANAMNESIS_INFERENCE_SPECULATION_MAX_BATCH": "4",
        "ANAMNESIS_INFERENCE_SPECULATION_REST_SECONDS": "0",
        # Of three proposed tokens: more than any lookup keeps of text that is drawn.
        "ANAMNESIS_INFERENCE_SPECULATION_BREAK_EVEN": "2.9",
        "ANAMNESIS_INFERENCE_DTYPE": "float32",
    }
    local = LocalStack(
        state_directory(stack_state_dir / "speculating"), free_port_offset(alone), {NAME: settings}, definition=alone
    )
    local.start()
    yield local
    local.stop()


@pytest.fixture
async def stub(speculating: LocalStack) -> AsyncIterator[InferenceServiceStub]:
    async with open_channel(speculating.targets[NAME]) as channel:
        yield InferenceServiceStub(channel)


async def speculation(stub: InferenceServiceStub) -> pb.Speculation:
    stats: pb.GetStatsResponse = await stub.GetStats(pb.GetStatsRequest(), timeout=SECONDS)
    return stats.speculation


async def test_it_speculates_from_the_warm_up_on(stub: InferenceServiceStub) -> None:
    found = await speculation(stub)
    assert (found.method, found.active, found.break_even) == ("ngram", True, 2.9)
    assert found.rounds > 0


async def test_what_is_decoded_in_rounds_is_still_the_model_s(
    stub: InferenceServiceStub, stack_state_dir: Path
) -> None:
    """Greedily: of drawn tokens vLLM does not always tell the model's log-prob; a policy that trains refuses rounds."""
    before = await speculation(stub)
    sampled = await answer(stub, generation(REPETITIVE, 48, temperature=0.0))
    after = await speculation(stub)
    assert after.drafted_tokens > before.drafted_tokens
    reference = ReferenceModel(stack_state_dir / "models/smollm2-135m-instruct")
    expected = reference.logprobs(sampled.prompt, sampled.token_ids)
    assert sampled.logprobs == pytest.approx(expected, abs=TOLERANCE["float32"] * 5)


async def test_given_answers_are_weighed_as_without_it(stub: InferenceServiceStub) -> None:
    prompt = pb.Prompt(
        new_messages=[message("What is the capital of France?")], answer_prefix="The capital of France is"
    )
    items = [pb.ChooseItem(prompt=prompt, choices=choices) for choices in ([" Berlin", " Paris"], [" Paris."])]
    response = await stub.Choose(pb.ChooseRequest(items=items), timeout=SECONDS)
    two, one = response.results
    assert two.scores[two.best].choice == " Paris"
    assert one.scores[0].probability == pytest.approx(1.0)


async def test_larger_batches_are_not_speculated_in(stub: InferenceServiceStub) -> None:
    before = await speculation(stub)
    await batch(stub, [generation(f"{REPETITIVE} {i}", 24, temperature=0.0) for i in range(24)])
    drafted = (await speculation(stub)).drafted_tokens - before.drafted_tokens
    # While the batch fills and empties it is small enough.
    assert drafted < 24 * 24


async def test_it_turns_itself_off_when_it_accepts_too_little(
    stub: InferenceServiceStub, speculating: LocalStack
) -> None:
    """Much is proposed in a text that repeats itself, and little of it is what is drawn."""
    for seed in range(60):
        wanted = [generation(f"{REPETITIVE} {i}", 48, seed=seed * 4 + i, temperature=0.7) for i in range(4)]
        await batch(stub, wanted)
        if not (await speculation(stub)).active:
            break
    found = await speculation(stub)
    assert (found.active, found.turned_off) == (False, 1), f"{found.rounds} rounds of {WINDOW_ROUNDS} that decide"
    assert "speculation does not pay and turned itself off" in speculating.log(NAME).read_text()
    await answer(stub, generation(REPETITIVE, 32, temperature=0.0))
    assert (await speculation(stub)).drafted_tokens == found.drafted_tokens
