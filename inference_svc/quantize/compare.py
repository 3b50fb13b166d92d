"""A quantized model beside its original: perplexity, divergence, agreement, size, speed.

Invariant: every figure is computed from measurements of both, over the same tokens. N: tokens; K: the likeliest kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Measured = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class QuantizationReport:
    recipe: str
    model: str
    calibration_tokens: int
    held_out_tokens: int
    seconds: float
    # Bytes of the weights' files.
    bytes_original: int
    bytes_quantized: int
    perplexity_original: float
    perplexity_quantized: float
    perplexity_ratio: float
    # KL(original || quantized), nats a token.
    divergence: float
    # Share of held-out positions whose likeliest token is the same.
    greedy_agreement: float
    # batch -> tokens a second; empty where the model is for another machine.
    speed_original: dict[int, float]
    speed_quantized: dict[int, float]


def perplexity(own: Floats) -> float:
    """exp of the mean negative log-prob, own [N]."""
    return float(np.exp(-own.mean()))


def divergence(original_ids: Ids, original: Floats, quantized_ids: Ids, quantized: Floats) -> float:
    """KL(original || quantized) in nats, a mean over N positions, from each side's K likeliest tokens [N, K].

    Exact over the original's K tokens with the rest as one event, but where the quantized model does not list a token:
    it is given the least log-prob listed, which is at least its true one, so the figure is a lower bound.
    """
    total = 0.0
    for row in range(len(original)):
        listed = dict(zip(quantized_ids[row].tolist(), quantized[row].tolist(), strict=True))
        least = float(quantized[row].min())
        q_log = np.array([listed.get(token, least) for token in original_ids[row].tolist()])
        p_log = original[row]
        p_rest = max(0.0, 1.0 - float(np.exp(p_log).sum()))
        q_rest = max(1e-9, 1.0 - float(np.exp(q_log).sum()))
        kl = float((np.exp(p_log) * (p_log - q_log)).sum())
        if p_rest > 0:
            kl += p_rest * float(np.log(p_rest / q_rest))
        total += kl
    return total / max(1, len(original))


def agreement(original_ids: Ids, quantized_ids: Ids) -> float:
    """ids [N, K], likeliest first."""
    return float((original_ids[:, 0] == quantized_ids[:, 0]).mean())


def weight_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def speeds(measured: Measured) -> dict[int, float]:
    return {
        int(name.removeprefix("speed_")): round(float(value), 1)
        for name, value in measured.items()
        if name.startswith("speed_")
    }


def markdown(report: QuantizationReport) -> str:
    """For a person."""
    rows = [
        ("weights, MB", f"{report.bytes_original / 1e6:.0f}", f"{report.bytes_quantized / 1e6:.0f}"),
        ("perplexity", f"{report.perplexity_original:.3f}", f"{report.perplexity_quantized:.3f}"),
    ]
    rows += [
        (f"tokens/s, batch {batch}", f"{rate:.1f}", f"{report.speed_quantized[batch]:.1f}")
        for batch, rate in report.speed_original.items()
    ]
    width = max(len(name) for name, *_ in rows)
    lines = [
        f"# {report.model} as {report.recipe}",
        "",
        f"| {'':{width}} | original | quantized |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {name:{width}} | {before} | {after} |" for name, before, after in rows]
    lines += [
        "",
        f"Perplexity ratio {report.perplexity_ratio:.4f}, KL {report.divergence:.4f} nats a token, "
        f"the same likeliest token at {report.greedy_agreement:.1%} of {report.held_out_tokens} held-out tokens. "
        f"Calibrated on {report.calibration_tokens} tokens in {report.seconds:.0f} s.",
        "",
    ]
    return "\n".join(lines)


def as_json(report: QuantizationReport) -> dict[str, Any]:
    return asdict(report)
