"""An EAGLE-3 head: one Llama layer over the target's hidden states of three layers and the next token's embedding.

EAGLE-3 (Li et al. 2025, arXiv:2503.01840), in the form of vLLM's `LlamaForCausalLMEagle3` with `fc_norm` and
`norm_before_residual`. Slot i has the target's features of position i and the embedding of token i+1, and foresees
token i+2. Names of the parameters are those of the file that vLLM loads. H: hidden size; DV: draft vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class HeadShape:
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    rope_theta: float
    epsilon: float
    draft_vocabulary: int


class Attention(nn.Module):
    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        inner, outer = 2 * shape.hidden, shape.heads * shape.head_dim
        self.q_proj = nn.Linear(inner, outer, bias=False)
        self.k_proj = nn.Linear(inner, shape.key_value_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(inner, shape.key_value_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(outer, shape.hidden, bias=False)

    def project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, T, 2H], positions [T] -> q, k, v [B, heads, T, D], rotated; k and v repeated to the query's heads."""
        batch, length, _ = x.shape
        shape = self.shape

        def split(flat: Tensor, heads: int) -> Tensor:
            return flat.view(batch, length, heads, shape.head_dim).transpose(1, 2)

        repeat = shape.heads // shape.key_value_heads
        q = rotate(split(self.q_proj(x), shape.heads), positions, shape.rope_theta)
        k = rotate(split(self.k_proj(x), shape.key_value_heads), positions, shape.rope_theta)
        v = split(self.v_proj(x), shape.key_value_heads)
        return q, k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)


class MLP(nn.Module):
    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        down: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return down


class Layer(nn.Module):
    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.hidden_norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.mlp = MLP(shape)


@dataclass
class Past:
    """What a chain's further steps attend to: step 0 over all earlier slots, and each later step at the chain's own."""

    # [B, heads, T, D] of step 0.
    keys: Tensor
    values: Tensor
    # One [B, heads, T', D] a later step, T' the chains' number.
    own_keys: list[Tensor]
    own_values: list[Tensor]
    # The first slot a chain starts at: T' = T - start.
    start: int = 0


class Eagle3Head(nn.Module):
    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.fc_norm = nn.ModuleList(nn.RMSNorm(shape.hidden, eps=shape.epsilon) for _ in range(3))
        self.fc = nn.Linear(3 * shape.hidden, shape.hidden, bias=False)
        self.midlayer = Layer(shape)
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.lm_head = nn.Linear(shape.hidden, shape.draft_vocabulary, bias=False)

    def combine(self, features: Tensor) -> Tensor:
        """The target's three hidden states [B, T, 3H] -> [B, T, H]."""
        chunks = features.chunk(3, dim=-1)
        normed = [norm(chunk) for norm, chunk in zip(self.fc_norm, chunks, strict=True)]
        combined: Tensor = self.fc(torch.cat(normed, dim=-1))
        return combined

    def first(self, embeds: Tensor, hidden: Tensor) -> tuple[Tensor, Past]:
        """Step 0 at every slot: embeds, hidden [B, T, H] -> the next hidden states [B, T, H] and the keys."""
        positions = torch.arange(embeds.shape[1])
        x, residual = self._inputs(embeds, hidden)
        q, k, v = self.midlayer.self_attn.project(x, positions)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._finish(attended, residual), Past(k, v, [], [])

    def further(self, embeds: Tensor, hidden: Tensor, past: Past) -> Tensor:
        """One more step of the chains that start at slots past.start ...; embeds, hidden [B, T', H] -> [B, T', H].

        A chain at slot t sees step 0 up to t, and of each later step its own slot alone: what it will see when it
        drafts (the training-time test). Its positions are t + step.
        """
        step = len(past.own_keys) + 1
        chains, slots = embeds.shape[1], past.keys.shape[2]
        x, residual = self._inputs(embeds, hidden)
        starts = torch.arange(past.start, past.start + chains)
        q, k, v = self.midlayer.self_attn.project(x, starts + step)
        past.own_keys.append(k)
        past.own_values.append(v)
        scale = self.shape.head_dim**-0.5
        shared = (q @ past.keys.transpose(-1, -2)) * scale
        unseen = torch.arange(slots)[None, :] > starts[:, None]
        shared = shared.masked_fill(unseen, float("-inf"))
        own = torch.stack([(q * key).sum(-1) for key in past.own_keys], dim=-1) * scale
        weights = torch.cat([shared, own], dim=-1).softmax(-1)
        attended = weights[..., :slots] @ past.values
        for place, value in enumerate(past.own_values):
            attended = attended + weights[..., slots + place, None] * value
        return self._finish(attended, residual)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., H] -> [..., DV]."""
        logits: Tensor = self.lm_head(self.norm(hidden))
        return logits

    def _inputs(self, embeds: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.midlayer.hidden_norm(hidden)
        return torch.cat([self.midlayer.input_layernorm(embeds), hidden], dim=-1), hidden

    def _finish(self, attended: Tensor, residual: Tensor) -> Tensor:
        batch, _, length, _ = attended.shape
        hidden = residual + self.midlayer.self_attn.o_proj(attended.transpose(1, 2).reshape(batch, length, -1))
        out: Tensor = hidden + self.midlayer.mlp(self.midlayer.post_attention_layernorm(hidden))
        return out


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotary embedding in the halves form (Llama's): x [B, heads, T, D], positions [T]."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = positions.float()[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
