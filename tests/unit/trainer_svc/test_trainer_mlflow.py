"""What people open with MLflow is what the run measured, and nothing but a file keeps it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from trainer_svc.config import resolve
from trainer_svc.figures.heldout import Measured
from trainer_svc.records.orders import Halt
from trainer_svc.records.runs import State
from trainer_svc.tracking.mlflow import EXPERIMENT, MLflow

CONFIG = resolve("demo", {"objective.epsilon_high": "0.3"}).model_dump(mode="json")


def figures(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "reward_mean": step / 4,
        "reward_components": {"rubric": 0.5},
        "seconds_by_phase": {"rollout": 3.0 * step},
        "extra": {"importance_weight": 1.125, "dropped:filtered:what?": 4.0},
    }


def test_the_curves_of_a_run_are_read_back_with_mlflow_and_a_resumed_run_goes_on_in_its_own(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient  # after our module, which turns its telemetry off

    database = tmp_path / "mlflow.db"
    with pytest.raises(Halt), MLflow(database, "first", 1, CONFIG) as tracker:
        for step in (1, 2):
            tracker.step(figures(step))
        raise Halt(State.PAUSED)
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None

    (paused,) = client.search_runs([experiment.experiment_id])
    assert paused.info.status == "KILLED"
    with MLflow(database, "first", 2, CONFIG) as tracker:
        tracker.step(figures(3))
        tracker.held_out(3, {0: Measured(0.5, 0.1, {"coherence": 0.1}), 1: Measured(1.0, 0.3, {"coherence": 0.3})})
    with pytest.raises(ZeroDivisionError), MLflow(database, "second", 1, CONFIG) as tracker:
        tracker.step(figures(1))
        raise ZeroDivisionError

    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"first": "FINISHED", "second": "FAILED"}
    first = runs["first"]
    assert first.data.params["objective.epsilon_high"] == "0.3"
    assert first.data.tags["anamnesis.incarnation"] == "2"

    def curve(name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client.get_metric_history(first.info.run_id, name)]

    assert curve("train/reward_mean") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert curve("seconds/rollout") == [(1, 3.0), (2, 6.0), (3, 9.0)]
    assert curve("reward/rubric") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert curve("train/importance_weight") == [(1, 1.125), (2, 1.125), (3, 1.125)]
    assert curve("train/dropped/filtered/what_") == [(1, 4.0), (2, 4.0), (3, 4.0)]
    assert curve("held_out/reward") == [(3, 0.75)]
    ((step, coherence),) = curve("held_out/coherence")
    assert step == 3 and coherence == pytest.approx(0.2)


def test_mlflow_reports_nothing_about_its_use_and_leaves_our_traces_alone(tmp_path: Path) -> None:
    from mlflow.telemetry import get_telemetry_client

    before = trace.get_tracer_provider()
    with MLflow(tmp_path / "mlflow.db", "quiet", 1, {}) as tracker:
        tracker.step(figures(1))
    assert get_telemetry_client() is None
    assert trace.get_tracer_provider() is before


@pytest.mark.parametrize("order", ["trainer_svc.learner.engine", "mlflow, trainer_svc.tracking.mlflow"])
def test_mlflow_reports_nothing_whoever_imports_it_first(order: str) -> None:
    code = f"import {order}\nfrom mlflow.telemetry import get_telemetry_client\nassert get_telemetry_client() is None"
    # As in a run: MLflow keeps quiet in tests and CI by itself.
    quiet = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
