"""The trained judge's head: a logistic regression on standardised features, with its calibration.

    P(met) = sigmoid( a (w . (x - mean) / scale + b) + k )        w, b learnt; a, k fitted on pairs kept for it (Platt)

Invariant: what is loaded is what was saved. A head is two files in its directory of the judge store, tensors and a
manifest; a digest that differs, another layout of features or another shape is refused, and nothing but safetensors
is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from rubric_svc.judge.features import LAYOUT

TENSORS, MANIFEST = "head.safetensors", "manifest.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class WrongHead(ValueError):
    """No such judge, or not the one that its manifest tells of."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`trained_on`: pairs of each part. `measured`: what it reached on pairs that it has not seen."""

    name: str
    slope: float
    intercept: float
    threshold: float
    trained_on: dict[str, int] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    layout: str = LAYOUT


@dataclass(frozen=True, slots=True)
class Head:
    weights: NDArray[np.float32]
    bias: float
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    manifest: Manifest

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """[rows], before calibration."""
        return np.asarray((x - self.mean) / self.scale @ self.weights + self.bias, dtype=np.float32)

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return sigmoid(self.manifest.slope * self.logits(x).astype(np.float64) + self.manifest.intercept)


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))


def save_head(head: Head, store: Path) -> Path:
    """Into the store's directory of its name; an earlier head of that name is replaced."""
    directory = _directory(store, head.manifest.name)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = save(
        {
            "weights": head.weights,
            "bias": np.asarray([head.bias], dtype=np.float32),
            "mean": head.mean,
            "scale": head.scale,
        }
    )
    manifest = {**asdict(head.manifest), "sha256": hashlib.sha256(tensors).hexdigest()}
    (directory / TENSORS).write_bytes(tensors)
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return directory


def load_head(store: Path, name: str) -> Head:
    """Raises WrongHead."""
    directory = _directory(store, name)
    try:
        table: dict[str, Any] = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        content = (directory / TENSORS).read_bytes()
    except (OSError, ValueError) as error:
        raise WrongHead(f"judge {name!r}: {error}") from error
    if hashlib.sha256(content).hexdigest() != table.pop("sha256", None):
        raise WrongHead(f"judge {name!r}: {TENSORS} is not the file that the manifest tells of")
    try:
        manifest = Manifest(**table)
        tensors = load(content)
        weights, mean, scale = (tensors[key] for key in ("weights", "mean", "scale"))
        bias = float(tensors["bias"][0])
    except (TypeError, KeyError, IndexError) as error:
        raise WrongHead(f"judge {name!r}: {type(error).__name__}: {error}") from error
    if manifest.layout != LAYOUT or manifest.name != name:
        raise WrongHead(f"judge {name!r}: the manifest tells of {manifest.name!r}, features {manifest.layout!r}")
    if not weights.ndim == 1 or not weights.shape == mean.shape == scale.shape:
        raise WrongHead(f"judge {name!r}: the tensors' shapes do not fit")
    return Head(weights, bias, mean, scale, manifest)


def _directory(store: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise WrongHead(f"{name!r} is no judge's name")
    return store / name
