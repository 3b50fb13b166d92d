"""The whole command on a tiny target: given answers, all else is made; the directory has what vLLM loads."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from inference_svc.draft import run as draft_run
from inference_svc.draft.features import auxiliary_layers, cache_features, load_sequences
from inference_svc.draft.responses import Response
from inference_svc.draft.run import DraftRun, train_draft
from tests.tiny_llama import VOCABULARY

LAYERS = 6


@pytest.fixture
def target(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "target")
    return tmp_path / "target"


def responses() -> list[Response]:
    torch.manual_seed(1)
    return [
        Response(f"r{place}", place % 4 == 0, 0.0, [2, 3, 4 + place % 3], torch.randint(2, 12, (9,)).tolist())
        for place in range(12)
    ]


def test_the_cached_states_are_those_that_go_into_the_layers(target: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(target, dtype=torch.float32)
    answers = responses()[:3]
    shards = cache_features(answers, model, tmp_path / "features", lambda done, of: None)
    seen: dict[int, torch.Tensor] = {}
    for place in auxiliary_layers(LAYERS):
        model.model.layers[place].register_forward_pre_hook(
            lambda module, inputs, place=place: seen.update({place: inputs[0]})
        )
    with torch.inference_mode():
        logits = model(torch.tensor([answers[1].prompt_ids + answers[1].token_ids])).logits[0]
    sequence = load_sequences(answers, shards)[1]
    expected = torch.cat([seen[place][0] for place in auxiliary_layers(LAYERS)], dim=-1)
    torch.testing.assert_close(sequence.features.float(), expected, rtol=0.02, atol=0.02)
    own = sequence.last.float() @ model.lm_head.weight.T
    torch.testing.assert_close(own, logits, rtol=0.05, atol=0.02)


def test_a_head_is_trained_measured_and_written_as_vllm_names_it(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft_run, "answers_of", lambda run, advance: responses())
    told: list[str] = []

    @contextmanager
    def stage(name: str) -> Iterator[Callable[..., None]]:
        told.append(name)
        yield lambda *_: None

    run = DraftRun(target, tmp_path / "work", tmp_path / "head", vocabulary=16, epochs=2, threads=1)
    report = train_draft(run, stage)
    assert told == ["answers", "hidden states", "training"]
    assert (report.answers, report.held_out_answers) == (9, 3)
    assert len(report.acceptance) == len(report.tokens_per_round) == draft_run.MEASURED_STEPS
    assert all(1 <= rate <= 1 + drafted for drafted, rate in report.tokens_per_round.items())
    assert json.loads((run.output / "report.json").read_text())["acceptance"] == asdict(report)["acceptance"]
    config = json.loads((run.output / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLMEagle3"]
    assert config["eagle_config"]["eagle_aux_hidden_state_layer_ids"] == list(auxiliary_layers(LAYERS))
    tensors = load_file(run.output / "model.safetensors")
    assert tensors["fc.weight"].shape == (16, 48)
    assert tensors["midlayer.self_attn.q_proj.weight"].shape == (16, 32)
    assert tensors["lm_head.weight"].shape == (16, 16)
    assert tensors["d2t"].dtype == torch.int64
    assert {"fc_norm.0.weight", "fc_norm.2.weight", "midlayer.hidden_norm.weight", "norm.weight"} <= tensors.keys()
    assert not any("embed" in name for name in tensors)
