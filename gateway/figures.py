"""The demo's closing line: one JSON object for machines, all of it from the Run message."""

from __future__ import annotations

import json
import math

from anamnesis.common.v1 import rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.ledger import account_of, dropped_total


def demo_figures(run: trainer_pb2.Run) -> dict[str, float | int | None]:
    """A figure that was not measured is null."""
    train = account_of(run, rollout_pb2.PURPOSE_TRAIN)
    held_out = run.held_out if run.HasField("held_out") else None
    return {
        "heldout_before": _number(held_out.mean_before if held_out else None),
        "heldout_after": _number(held_out.mean_after if held_out else None),
        "heldout_diff_se": _number(held_out.diff_standard_error if held_out else None),
        "heldout_n": held_out.count if held_out else None,
        "untrained_before": _number(held_out.untrained_before if held_out else None),
        "untrained_after": _number(held_out.untrained_after if held_out else None),
        "steps": run.step,
        "train_requests": train.published,
        "trained": train.trained,
        "dropped": dropped_total(train),
        "trace_episodes": run.traced_episodes,
    }


def figures_line(run: trainer_pb2.Run) -> str:
    return f"figures: {json.dumps(demo_figures(run), allow_nan=False)}"


def _number(value: float | None) -> float | None:
    """Six significant digits; NaN is no JSON."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
