"""Packed groups against the same rows, padded, in a plain forward pass."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trainer_svc.learner.packing import pack, packed_logprobs, shared_prefix, take_packed_passes

TEMPERATURE = 0.7


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config)


def plain(model: LlamaForCausalLM, rows: list[list[int]], trained: list[list[int]]) -> list[torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits / TEMPERATURE
    logp = torch.log_softmax(logits[:, :-1], -1).gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    return [logp[i, torch.tensor(at) - 1] for i, at in enumerate(trained)]


ROWS = {
    "one_prompt": ([[5, 6, 7, 8, 1, 2], [5, 6, 7, 8, 3], [5, 6, 7, 8, 4, 4, 9, 2]], [[4, 5], [4], [4, 5, 6, 7]]),
    "answers_begin_alike": ([[5, 6, 7, 1, 2], [5, 6, 7, 1, 3, 4], [5, 6, 7, 1]], [[3, 4], [3, 4, 5], [3]]),
    "nothing_shared": ([[5, 6, 7], [8, 9, 1, 2]], [[1, 2], [2, 3]]),
    "patient_speaks_between": ([[5, 6, 1, 2, 9, 9, 3], [5, 6, 4, 9, 8, 3, 3]], [[2, 3, 6], [2, 5, 6]]),
    "one_row": ([[5, 6, 7]], [[2]]),
}
# Several groups in one pass: as they come, and where one of them has a single row.
PASSES = {name: [name] for name in ROWS} | {"all_in_one_pass": list(ROWS), "same_group_twice": ["one_prompt"] * 2}


@pytest.mark.parametrize("names", PASSES.values(), ids=PASSES.keys())
def test_packed_groups_have_the_log_probs_and_gradients_of_padded_rows(
    model: LlamaForCausalLM, names: list[str]
) -> None:
    groups = [ROWS[name][0] for name in names]
    rows = [row for group in groups for row in group]
    trained = [at for name in names for at in ROWS[name][1]]
    expected = plain(model, rows, trained)
    weights = [torch.linspace(-1, 1, len(at)) for at in trained]
    torch.autograd.backward([(e * w).sum() for e, w in zip(expected, weights, strict=True)])
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    take_packed_passes(model)
    torch.testing.assert_close(plain(model, rows, trained), expected)  # what is not packed is answered as ever
    logp, entropy = packed_logprobs(model, groups, trained, TEMPERATURE)
    for got, want in zip(logp, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    torch.autograd.backward([(e * w).sum() for e, w in zip(logp, weights, strict=True)])
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-4)
    assert all(bool((values > 0).all()) for values in entropy)


def test_the_prefix_is_there_once_and_nothing_is_padding() -> None:
    rows = [[1, 2, 3, 4], [1, 2, 3, 5, 6]]
    assert shared_prefix(rows) == 3
    packed = pack([rows, [[7, 8], [7, 9]]])
    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 3, 4, 0, 1, 1]]
    assert [place.tolist() for place in packed.places] == [[0, 1, 2, 3], [0, 1, 2, 4, 5], [6, 7], [6, 8]]
