"""vLLM's own sampling of drafted tokens, as an engine of this package has it."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("vllm")


def test_each_drafted_token_is_drawn_at_the_temperature_of_its_request() -> None:
    from vllm.plugins import load_general_plugins
    from vllm.v1.sample.rejection_sampler import apply_sampling_constraints

    load_general_plugins()
    logits = torch.arange(28, dtype=torch.float32).reshape(7, 4)
    temperatures = torch.tensor([1.0, 0.5, 0.0, 2.0])  # 0 is greedy, and divides by nothing
    asked = SimpleNamespace(all_greedy=False, temperature=temperatures, top_k=None, top_p=None)
    scaled = apply_sampling_constraints(logits.clone(), torch.tensor([3, 5, 6, 7], dtype=torch.int32), asked)
    of_each = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 1.0, 2.0])
    torch.testing.assert_close(scaled, logits / of_each.unsqueeze(-1))
