"""What a model directory says of itself, from its config.json alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class NoModel(Exception):
    """The directory holds no readable config.json."""


@dataclass(frozen=True)
class ModelDirectory:
    hidden_size: int
    vocabulary: int
    layers: int
    max_positions: int
    attention_heads: int
    # plain, w8a8, w4a16, w4a8, or vLLM's name for another scheme.
    weights: str
    # Of an EAGLE-3 head: the target's layers that it reads; empty for any other model.
    aux_layers: tuple[int, ...] = ()
    draft_vocabulary: int = 0

    @classmethod
    def read(cls, directory: Path) -> ModelDirectory:
        try:
            fields: Any = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            text = fields.get("text_config", fields)
            return cls(
                hidden_size=int(text["hidden_size"]),
                vocabulary=int(text["vocab_size"]),
                layers=int(text["num_hidden_layers"]),
                max_positions=int(text["max_position_embeddings"]),
                attention_heads=int(text["num_attention_heads"]),
                weights=scheme(fields.get("quantization_config")),
                aux_layers=_aux_layers(fields),
                draft_vocabulary=int(fields.get("draft_vocab_size") or 0),
            )
        except OSError as error:
            raise NoModel(f"{directory}/config.json: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoModel(f"{directory}/config.json is no model's configuration: {error!r}") from error


def scheme(quantization: Any) -> str:
    """`quantization_config` in the words of the setting `weights`: bits of the weights, bits of the activations."""
    if not quantization:
        return "plain"
    method = str(quantization.get("quant_method", "unknown"))
    if method == "compressed-tensors":
        groups = list(quantization.get("config_groups", {}).values())
        if not groups:
            return method
        weights, inputs = (
            groups[0]["weights"]["num_bits"],
            (groups[0].get("input_activations") or {}).get("num_bits", 16),
        )
        return f"w{weights}a{inputs}"
    bits = quantization.get("bits") or quantization.get("w_bit")
    return f"w{bits}a16" if bits else method


def _aux_layers(fields: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in (fields.get("eagle_config") or {}).get("eagle_aux_hidden_state_layer_ids", ()))
