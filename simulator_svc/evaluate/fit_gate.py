"""Fits the head that the gate asks where its rules are unsure (units/leaving.py), and says what it is worth.

    anamnesis up                                             # for the embeddings, the frozen deployment's own
    python -m simulator_svc.evaluate.fit_gate states.jsonl   # writes simulator_svc/units/data/gate_head.json

Labelled states alone, without their held-out third, and of them those where nothing waits for the patient, since there
alone the model is asked. Every figure printed is of states that a fold's head had not seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.grpc.channel import open_channel
from simulator_svc.dialogue import Ending
from simulator_svc.evaluate.gate import GATE, GateState, decisions, figures_of, load_states
from simulator_svc.language import FrozenLanguageModel
from simulator_svc.units.leaving import HEAD, heard, texts
from simulator_svc.units.speech_acts import doctor_acts

ENCODER = "all-MiniLM-L6-v2"
# Chosen by cross-validation, with the threshold: how much more the doctor's own words may say, and what was heard less.
_DOCTOR, _BEFORE, _HEARD = 2.0, 1.0, 0.5
_THRESHOLD = 0.75
_INVERSE_PENALTY = 2.0
_FOLDS, _SEED = 10, 0

Matrix = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


async def embedded(states: Sequence[GateState], target: str) -> Matrix:
    """[states, 2, numbers]: the doctor's turn and what came before it."""
    channel = open_channel(target)
    model = FrozenLanguageModel(
        inference_pb2_grpc.InferenceServiceStub(channel), inference_pb2.PRIORITY_ROLLOUT, 30.0, embed_seconds=30.0
    )
    try:
        return np.array([await model.embed(texts(state.dialogue)) for state in states])
    finally:
        await channel.close(None)


def probabilities(features: Matrix, ends: Flags, waits: Flags) -> Matrix:
    """Of each state by a head that was fitted without it."""
    found = np.zeros(len(ends))
    for seen, unseen in StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED).split(features, ends):
        found[unseen] = fitted(features[seen], ends[seen], waits[seen]).predict_proba(features[unseen])[:, 1]
    return found


def fitted(features: Matrix, ends: Flags, waits: Flags) -> LogisticRegression:
    head = LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=2_000)
    return head.fit(features[~waits], ends[~waits])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("states", type=Path, nargs="+")
    parser.add_argument("--frozen", default="localhost:7104", help="the frozen engine")
    parser.add_argument("--output", type=Path, default=HEAD)
    arguments = parser.parse_args()
    states = [state for path in arguments.states for state in load_states(path) if not state.held_out]
    vectors = asyncio.run(embedded(states, arguments.frozen))
    acts = [heard(doctor_acts(state.dialogue, ())) for state in states]
    names = list(acts[0])
    known = np.array([[act[name] for name in names] for act in acts])
    features = np.hstack([_DOCTOR * vectors[:, 0], _BEFORE * vectors[:, 1], _HEARD * known])
    ends = np.array([state.label is not None for state in states])

    ruled = decisions(states)
    waits = known[:, names.index("last.waits")] > 0
    likely = probabilities(features, ends, waits)
    asked: list[Ending | None] = [
        decided or (GATE.doubt(state.dialogue) if p >= _THRESHOLD else None)
        for state, decided, p in zip(states, ruled, likely, strict=True)
    ]
    unsure = sum(not d and GATE.doubt(s.dialogue) is not None for s, d in zip(states, ruled, strict=True))
    table = Table("", "precision", "recall", "too early", "never", "same reason", title=f"{len(states)} states")
    for name, decided in (("rules", ruled), ("rules and the model", asked)):
        of = figures_of(states, decided)
        shares = (f"{share:.3f}" for share in (of.precision, of.recall))
        table.add_row(name, *shares, str(of.too_early), str(of.never), f"{of.reason_accuracy:.3f}")
    console = Console()
    console.print(table)
    console.print(f"the rules were unsure in {unsure}", highlight=False)

    head = fitted(features, ends, waits)
    doctor, before, rest = np.split(head.coef_[0], [vectors.shape[2], 2 * vectors.shape[2]])
    written = {
        "encoder": ENCODER,
        "threshold": _THRESHOLD,
        "bias": round(float(head.intercept_[0]), 4),
        "heard": {name: round(_HEARD * float(weight), 4) for name, weight in zip(names, rest, strict=True)},
        "doctor": [round(_DOCTOR * float(weight), 4) for weight in doctor],
        "before": [round(_BEFORE * float(weight), 4) for weight in before],
    }
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in written.items())
    arguments.output.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
