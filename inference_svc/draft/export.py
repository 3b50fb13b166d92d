"""The draft directory that vLLM loads, and the head's start from the target's weights.

Invariant: the directory is complete or absent. `eagle_config` names the layers the head was trained on; the embedding
is not in the file, so vLLM shares the target's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from inference_svc.draft.features import auxiliary_layers
from inference_svc.draft.head import Eagle3Head, HeadShape
from inference_svc.draft.objective import TargetEnds
from inference_svc.draft.vocabulary import DraftVocabulary
from inference_svc.prepare import complete_or_absent


def target_ends(target: Any, vocabulary: DraftVocabulary) -> TargetEnds:
    lm_head = target.lm_head.weight.detach().to(torch.bfloat16)
    return TargetEnds(
        embedding=target.get_input_embeddings().weight.detach().to(torch.bfloat16),
        lm_head=lm_head[vocabulary.target_ids],
        target_ids=vocabulary.target_ids,
        t2d=vocabulary.t2d(target.config.vocab_size),
    )


def head_for(target: Any, vocabulary: DraftVocabulary) -> Eagle3Head:
    """A head of the target's own shape. It reads out as the target does: final norm and lm_head start as the target's,
    and its MLP as that of the target's last layer."""
    config = target.config
    head = Eagle3Head(
        HeadShape(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            key_value_heads=config.num_key_value_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            rope_theta=config.rope_parameters["rope_theta"],
            epsilon=config.rms_norm_eps,
            draft_vocabulary=len(vocabulary),
        )
    )
    last = target.model.layers[-1]
    with torch.no_grad():
        head.lm_head.weight.copy_(target.lm_head.weight[vocabulary.target_ids])
        head.norm.weight.copy_(target.model.norm.weight)
        head.midlayer.mlp.load_state_dict(last.mlp.state_dict())
        head.midlayer.post_attention_layernorm.weight.copy_(last.post_attention_layernorm.weight)
    return head


def write_draft(head: Eagle3Head, vocabulary: DraftVocabulary, target: Any, directory: Path) -> None:
    config, shape = target.config, head.shape
    tensors = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in head.state_dict().items()}
    described = {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_dim,
        "num_hidden_layers": 1,
        "hidden_act": "silu",
        "rms_norm_eps": shape.epsilon,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "max_position_embeddings": config.max_position_embeddings,
        "vocab_size": config.vocab_size,
        "draft_vocab_size": shape.draft_vocabulary,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "fc_norm": True,
        "norm_before_residual": True,
        "eagle_config": {"eagle_aux_hidden_state_layer_ids": list(auxiliary_layers(config.num_hidden_layers))},
    }
    with complete_or_absent(directory) as incomplete:
        save_file(tensors | {"d2t": vocabulary.d2t}, incomplete / "model.safetensors")
        (incomplete / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
