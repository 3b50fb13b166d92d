"""The real engine: what comes back is what was sampled, from the distribution that was asked for."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from pathlib import Path

import grpc
import pytest

from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from inference_svc.tokens import ChatMessage, PromptAssembler
from tests.integration.inference_svc.inference_requests import SECONDS, answer, batch, generation, message
from tests.integration.inference_svc.reference_model import ReferenceModel

pytestmark = pytest.mark.engine
END_OF_TURN = 2
BLOCK = 32


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.7, 0), (1.3, 20)])
async def test_logprobs_are_those_of_the_distribution_that_was_sampled(
    frozen: InferenceServiceStub, reference: ReferenceModel, tolerance: float, temperature: float, top_k: int
) -> None:
    request = generation("What may cause a headache?", 40, temperature=temperature, top_k=top_k)
    sampled = await answer(frozen, request)
    expected = reference.logprobs(sampled.prompt, sampled.token_ids, temperature, top_k)
    assert sampled.logprobs == pytest.approx(expected, abs=tolerance)


async def test_greedy_tokens_are_the_reference_models_own(
    frozen: InferenceServiceStub, reference: ReferenceModel, tolerance: float
) -> None:
    sampled = await answer(frozen, generation("What is a fever?", 24, temperature=0.0))
    assert sampled.logprobs == pytest.approx(reference.logprobs(sampled.prompt, sampled.token_ids), abs=tolerance)
    if tolerance < 0.01:
        for index, token in enumerate(sampled.token_ids[:8]):
            before = [*sampled.prompt, *sampled.token_ids[:index]]
            best = max(reference.logprobs(before, [other])[0] for other in {token, END_OF_TURN, 28, 30})
            assert reference.logprobs(before, [token])[0] == pytest.approx(best)


async def test_the_same_seed_gives_the_same_tokens_alone_and_among_others(frozen: InferenceServiceStub) -> None:
    request = generation("Tell me about coughs.", 24, seed=7)
    alone = await answer(frozen, request)
    others = [generation(f"Tell me about {word}.", 24, seed=None) for word in ("rain", "bread", "iron")]
    among = (await batch(frozen, [*others, request]))[-1]
    other_seed = await answer(frozen, generation("Tell me about coughs.", 24, seed=8))
    assert list(among.token_ids) == alone.token_ids
    assert other_seed.token_ids != alone.token_ids


async def test_the_end_of_turn_comes_back_as_it_was_sampled(
    frozen: InferenceServiceStub, reference: ReferenceModel, tolerance: float
) -> None:
    completions = await batch(frozen, [generation("Say only: yes", 120, seed=seed) for seed in range(4)])
    ended = [c for c in completions if c.finish_reason == pb.FINISH_REASON_STOP]
    assert ended, "not one of the answers ended by itself"
    for completion in ended:
        assert completion.token_ids[-1] == END_OF_TURN
        assert "<|im_end|>" not in completion.text
        expected = reference.logprobs(completion.prompt_token_ids, completion.token_ids)
        assert list(completion.logprobs) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("question", "stop"), [("Write 体温計 and 🩺 in a row.", ""), ("Count to nine.", "3")])
async def test_an_answer_is_the_same_whether_it_is_streamed_or_given_whole(
    frozen: InferenceServiceStub, question: str, stop: str
) -> None:
    for tokens in (7, 12, 40):
        request = generation(question, tokens, temperature=0.0, seed=None)
        request.sampling.stop.extend([stop] if stop else [])
        (whole,) = await batch(frozen, [request])
        streamed = await answer(frozen, request)
        assert (whole.text, list(whole.token_ids)) == (streamed.text, streamed.token_ids)
        assert stop == "" or stop not in whole.text


async def test_a_second_turn_goes_on_from_the_sampled_ids(frozen: InferenceServiceStub, model_directory: Path) -> None:
    first = await answer(frozen, generation("I have a cough.", 8))
    so_far = [*first.prompt, *first.token_ids]
    second = await answer(frozen, generation("For a week.", 4, so_far=so_far))
    assert second.prompt[: len(so_far)] == so_far
    assert second.finished.cached_prompt_tokens >= len(first.prompt) // 32 * 32
    dialogue = [ChatMessage("user", "I have a cough."), ChatMessage("assistant", first.text)]
    whole = PromptAssembler.load(model_directory).assemble([], [*dialogue, ChatMessage("user", "For a week.")])
    # Sampled ids may cut the text otherwise than the tokenizer; what the template adds is the same.
    added = len(second.prompt) - len(so_far) - (END_OF_TURN not in first.token_ids)
    assert second.prompt[-added:] == whole[-added:]


async def test_what_a_group_and_what_a_judges_questions_share_is_computed_once(frozen: InferenceServiceStub) -> None:
    history = f"[{time.time_ns()}] " + "I cough at night and my chest feels tight when I climb the stairs. " * 8
    group = await batch(frozen, [generation(history, 2, seed=seed) for seed in range(8)])
    shared = len(group[0].prompt_token_ids) // BLOCK * BLOCK
    assert shared >= 4 * BLOCK
    assert sum(completion.cached_prompt_tokens for completion in group) >= 7 * (shared - BLOCK)
    before = await frozen.GetStats(pb.GetStatsRequest(), timeout=SECONDS)
    questions = [item(f"{history} Is {sign} present?", ["Yes", "No"]) for sign in ("fever", "pain", "wheeze", "blood")]
    await frozen.Choose(pb.ChooseRequest(items=questions), timeout=SECONDS)
    after = await frozen.GetStats(pb.GetStatsRequest(), timeout=SECONDS)
    # The engine's figures are those of its last step.
    assert after.cached_prompt_tokens - before.cached_prompt_tokens >= 3 * (shared - 2 * BLOCK)


async def test_prompts_that_fill_more_than_one_step_are_all_answered(frozen: InferenceServiceStub) -> None:
    requests = [generation("pain " * 400 + str(seed), 2, seed=seed) for seed in range(8)]
    completions = await batch(frozen, [*requests, generation("Hello", 2, seed=None)])
    assert all(1 <= len(c.token_ids) <= 2 and not c.error_reason for c in completions)


async def test_a_constraint_holds(frozen: InferenceServiceStub) -> None:
    schema = {
        "type": "object",
        "properties": {"urgent": {"type": "boolean"}, "days": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["urgent", "days"],
        "additionalProperties": False,
    }
    matched, structured = await batch(
        frozen,
        [
            generation("Grade it.", 16, constraint=pb.Constraint(regex=r"grade [1-5]\.")),
            generation("Is it urgent, and since when?", 40, constraint=pb.Constraint(json_schema=json.dumps(schema))),
        ],
    )
    assert re.fullmatch(r"grade [1-5]\.", matched.text)
    assert set(json.loads(structured.text)) == {"urgent", "days"}
    assert " " not in structured.text


async def test_a_constraint_that_is_none_is_its_own_prompts_fault(frozen: InferenceServiceStub) -> None:
    broken = [generation("x", 4, constraint=c) for c in (pb.Constraint(regex="((("), pb.Constraint(json_schema="{no"))]
    *refused, good = await batch(frozen, [*broken, generation("x", 4)])
    assert [c.error_reason != "" for c in refused] == [True, True]
    assert len(good.token_ids) == 4


def item(text: str, choices: list[str], prefix: str = "") -> pb.ChooseItem:
    return pb.ChooseItem(prompt=pb.Prompt(new_messages=[message(text)], answer_prefix=prefix), choices=choices)


async def test_choose_prefers_what_the_model_knows_and_its_numbers_are_the_models(
    frozen: InferenceServiceStub, reference: ReferenceModel, tolerance: float, model_directory: Path
) -> None:
    question, prefix = "What is the capital of France?", "The capital of France is"
    same_start = [" Paris, of course.", " Paris; London is not."]
    items = [
        item(question, [" Berlin", " Paris", " London"], prefix),
        item(question, same_start, prefix),
        item(question, [" Paris."], prefix),
    ]
    tokens = PromptAssembler.load(model_directory)
    prompt = tokens.assemble([], [ChatMessage("user", question)], prefix)
    for _ in range(2):  # the second time the prefix cache holds the choices too
        response = await frozen.Choose(pb.ChooseRequest(items=items), timeout=SECONDS)
        differing, shared, single = response.results
        assert differing.scores[differing.best].choice == " Paris"
        for result in (differing, shared, single):
            assert math.fsum(score.probability for score in result.scores) == pytest.approx(1.0)
        for score in differing.scores:
            expected = reference.logprobs(prompt, tokens.plain(score.choice)[:1])[0]
            assert score.token_count == 1
            assert score.logprob == pytest.approx(expected, abs=tolerance)
        for score in [*shared.scores, *single.scores]:
            ids = tokens.plain(score.choice)
            expected = reference.text_logprob(prompt, ids)
            assert score.token_count == len(ids)
            assert score.logprob == pytest.approx(expected, abs=tolerance * len(ids))


async def test_a_caller_that_goes_away_or_is_late_frees_its_place(frozen: InferenceServiceStub) -> None:
    before = await frozen.GetStats(pb.GetStatsRequest(), timeout=SECONDS)
    endless = generation("Tell me a very long story.", 1500, seed=3)
    call = frozen.Generate(endless, timeout=SECONDS)
    async for event in call:
        if event.HasField("delta"):
            call.cancel()
            break
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await frozen.GenerateBatch(pb.GenerateBatchRequest(requests=[endless, endless]), timeout=1.0)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(20):
        while (stats := await frozen.GetStats(pb.GetStatsRequest(), timeout=SECONDS)).running:
            # The engine's figures are those of its last step.
            await answer(frozen, generation("x", 1))
    assert stats.requests_aborted - before.requests_aborted >= 3


async def test_a_user_goes_before_rollouts_that_came_first(frozen: InferenceServiceStub) -> None:
    ended: list[str] = []

    async def play(name: str, request: pb.GenerateRequest) -> None:
        await answer(frozen, request)
        ended.append(name)

    rollouts = [generation(f"Story {seed}", 24, seed=seed) for seed in range(80)]
    async with asyncio.TaskGroup() as tasks:
        for request in rollouts:
            tasks.create_task(play("rollout", request))
        await asyncio.sleep(2.0)
        tasks.create_task(play("user", generation("Help me", 2, priority=pb.PRIORITY_CONSULTATION)))
    # 64 run at once and 16 wait: the user's request overtakes those that wait.
    assert ended.index("user") < len(ended) - 1 - 8


async def test_embeddings_are_of_unit_length_and_like_texts_are_near(frozen: InferenceServiceStub) -> None:
    texts = ["I have pain in my chest.", "My chest hurts.", "The train leaves at noon.", "", "word " * 1600]
    response = await frozen.Embed(pb.EmbedRequest(texts=texts), timeout=SECONDS)
    vectors = [list(embedding.values) for embedding in response.embeddings]
    assert [math.fsum(x * x for x in vector) for vector in vectors] == pytest.approx([1.0] * len(texts), abs=1e-4)

    def likeness(a: int, b: int) -> float:
        return math.fsum(x * y for x, y in zip(vectors[a], vectors[b], strict=True))

    assert likeness(0, 1) > 0.7 > 0.3 > likeness(0, 2)
    alone = await frozen.Embed(pb.EmbedRequest(texts=texts[:1]), timeout=SECONDS)
    assert list(alone.embeddings[0].values) == pytest.approx(vectors[0], abs=1e-4)
