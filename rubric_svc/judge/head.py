"""The trained judge's head: a logistic regression on standardised features, with its calibration.

    z = (x - mean) / scale        P(met) = sigmoid( a (w . z + b + v_c . [z, 1]) + k )

w and b are learnt for all criteria, v_c for each one that the training knew; a, k are fitted on pairs kept for it
(Platt). Invariant: what is loaded is what was saved. A head is two files in its directory of the judge store, tensors
and a manifest; a digest that differs, another layout of features or another shape is refused, and nothing but
safetensors is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from rubric_svc.judge.exemplars import Exemplars
from rubric_svc.judge.features import LAYOUT, Seen

TENSORS, MANIFEST = "head.safetensors", "manifest.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class WrongHead(ValueError):
    """No such judge, or not the one that its manifest tells of."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`criteria` are those with weights of their own; `exemplars` names each one's criterion.

    `trained_on`: pairs of each part. `measured`: what it reached on pairs that it has not seen.
    """

    name: str
    slope: float
    intercept: float
    threshold: float
    criteria: list[str] = field(default_factory=list)
    exemplars: list[str] = field(default_factory=list)
    trained_on: dict[str, int] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    layout: str = LAYOUT


@dataclass(frozen=True, slots=True)
class Head:
    """`weights`, `mean` and `scale` [columns], `own` [criteria, columns + 1]."""

    weights: NDArray[np.float32]
    bias: float
    own: NDArray[np.float32]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    exemplars: Exemplars
    manifest: Manifest

    def logits(self, x: NDArray[np.float32], criteria: Sequence[str]) -> NDArray[np.float32]:
        """[rows], before calibration."""
        z = (x - self.mean) / self.scale
        known = {name: index for index, name in enumerate(self.manifest.criteria)}
        own = np.zeros((len(z), self.own.shape[1]), dtype=np.float32)
        for row, name in enumerate(criteria):
            if name in known:
                own[row] = self.own[known[name]]
        return np.asarray(z @ self.weights + self.bias + np.sum(own[:, :-1] * z, axis=1) + own[:, -1], dtype=np.float32)

    def probabilities(self, x: NDArray[np.float32], criteria: Sequence[str]) -> NDArray[np.float64]:
        return sigmoid(self.manifest.slope * self.logits(x, criteria).astype(np.float64) + self.manifest.intercept)

    def judge(self, seen: Sequence[Seen]) -> NDArray[np.float64]:
        """P(met) of each."""
        x = np.stack([self.exemplars.row(one) for one in seen])
        return self.probabilities(x, [one.criterion_id for one in seen])


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
            "own": head.own,
            "wholes": head.exemplars.wholes,
            "sentences": head.exemplars.sentences,
            "of": head.exemplars.of,
            "met": head.exemplars.met,
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
        weights, mean, scale, own = (tensors[key] for key in ("weights", "mean", "scale", "own"))
        wholes, sentences, of, met = (tensors[key] for key in ("wholes", "sentences", "of", "met"))
        bias = float(tensors["bias"][0])
    except (TypeError, KeyError, IndexError) as error:
        raise WrongHead(f"judge {name!r}: {type(error).__name__}: {error}") from error
    if manifest.layout != LAYOUT or manifest.name != name:
        raise WrongHead(f"judge {name!r}: the manifest tells of {manifest.name!r}, features {manifest.layout!r}")
    own_shape = (len(manifest.criteria), len(weights) + 1)
    replies = len(manifest.exemplars)
    fits = weights.ndim == 1 and weights.shape == mean.shape == scale.shape and own.shape == own_shape
    if not fits or not len(wholes) == len(met) == replies or len(of) != len(sentences):
        raise WrongHead(f"judge {name!r}: the tensors' shapes do not fit")
    if len(of) and not 0 <= of.min() <= of.max() < replies:
        raise WrongHead(f"judge {name!r}: a sentence of no exemplar")
    exemplars = Exemplars(tuple(manifest.exemplars), ("exemplar",) * replies, met.astype(bool), wholes, sentences, of)
    return Head(weights, bias, own, mean, scale, exemplars, manifest)


def _directory(store: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise WrongHead(f"{name!r} is no judge's name")
    return store / name
