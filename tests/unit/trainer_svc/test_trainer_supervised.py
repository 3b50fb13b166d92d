"""Next-token loss on labelled tokens alone, and a KL to what the model was before, under LoRA and in full."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tiny_llama import tiny_model, tiny_tokenizer
from trainer_svc.config import RunConfig, resolve
from trainer_svc.figures.perplexity import Probe, perplexity
from trainer_svc.learner.supervised import GIVEN, Row, SupervisedEngine, SupervisedResult, collate, kl_to_reference


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**overrides: str) -> RunConfig:
    settings = {"schedule.steps": "4", "supervised.rows_per_step": "2", "optimizer.learning_rate": "0.003"}
    return resolve("smoke", settings | {name.replace("__", "."): value for name, value in overrides.items()}, "mid")


def rows(count: int, anchored: bool = True) -> list[Row]:
    ids = [[2 + (3 * n + k) % 30 for k in range(8)] for n in range(count)]
    return [Row(row, [GIVEN] * 3 + row[3:], anchored and n % 2 == 1) for n, row in enumerate(ids)]


def train(config: RunConfig, scratch: Path) -> tuple[SupervisedEngine, list[SupervisedResult]]:
    results: list[SupervisedResult] = []
    engine = SupervisedEngine(config, tiny_model(), tiny_tokenizer(), 1, scratch)
    engine.train(rows(2) * 4, results.append)
    return engine, results


def test_the_loss_is_that_of_the_labelled_tokens_alone(tmp_path: Path) -> None:
    _, results = train(config(), tmp_path)
    model = tiny_model()
    batch = collate([{"input_ids": r.token_ids, "labels": r.labels, "anchored": r.anchored} for r in rows(2)])
    logits = model(input_ids=batch["input_ids"]).logits[:, 2:-1].log_softmax(-1)
    by_hand = -logits.gather(2, batch["input_ids"][:, 3:, None]).mean()
    assert results[0].nll == pytest.approx(float(by_hand.detach()), abs=1e-5)
    assert [result.tokens for result in results] == [10] * 4
    assert results[-1].nll < results[0].nll


def test_rows_that_are_given_more_and_less_each_learn_their_own_labels(tmp_path: Path) -> None:
    ids = [[3, 4, 5, 6, 7, 8, 9], [9, 2, 7, 5]]
    pair = [Row(ids[0], [GIVEN] * 5 + ids[0][5:], False), Row(ids[1], [GIVEN] * 2 + ids[1][2:], False)]
    results: list[SupervisedResult] = []
    SupervisedEngine(config(schedule__steps="1"), tiny_model(), tiny_tokenizer(), 1, tmp_path).train(
        pair, results.append
    )
    model = tiny_model()
    losses = []
    for row, given in zip(ids, (5, 2), strict=True):
        logits = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        losses += [-float(logits[place - 1, row[place]].detach()) for place in range(given, len(row))]
    assert results[0].nll == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert results[0].tokens == len(losses)


@pytest.mark.parametrize("rank", ["2", "0"])
def test_the_reference_is_the_model_as_it_was(rank: str, tmp_path: Path) -> None:
    engine, results = train(config(lora__rank=rank), tmp_path)
    assert results[0].kl == pytest.approx(0.0, abs=1e-6) and results[-1].kl > 1e-5
    trained = engine.merged_weights(torch.float32)
    before = dict(tiny_model().named_parameters())
    assert trained.keys() == before.keys()
    assert any(not torch.equal(trained[name], before[name].detach()) for name in before)


def test_a_heavier_anchor_keeps_the_model_nearer(tmp_path: Path) -> None:
    free = train(config(supervised__kl_weight="0.001"), tmp_path)[1][-1].kl
    held = train(config(supervised__kl_weight="10.0"), tmp_path)[1][-1].kl
    assert held < free / 2


def test_kl_is_the_sum_over_the_vocabulary_of_masked_tokens() -> None:
    logits, reference = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    mask = torch.tensor([[True, True, False], [False, True, False]])
    p, q = reference.softmax(-1), logits.softmax(-1)
    by_hand = (p * (p / q).log()).sum(-1)[mask].mean()
    assert float(kl_to_reference(logits, reference, mask)) == pytest.approx(float(by_hand), rel=1e-5)


def test_perplexity_does_not_see_padding() -> None:
    model = tiny_model().eval()
    short, long = Probe([3, 4, 5]), Probe([3, 4, 5, 6, 7, 8])
    alone = [perplexity(model, [row]) for row in (short, long)]
    together = perplexity(model, [short, long])
    assert together == pytest.approx(math.exp((2 * math.log(alone[0]) + 5 * math.log(alone[1])) / 7), rel=1e-5)


def test_perplexity_of_an_answer_leaves_its_prompt_out() -> None:
    model = tiny_model().eval()
    ids = [3, 4, 5, 6, 7]
    whole, answer = perplexity(model, [Probe(ids)]), perplexity(model, [Probe(ids, given=3)])
    first, second = perplexity(model, [Probe(ids[:3])]), perplexity(model, [Probe(ids[:4], given=3)])
    assert math.log(whole) * 4 == pytest.approx(math.log(first) * 2 + math.log(answer) * 2, rel=1e-5)
    assert second != pytest.approx(answer)
