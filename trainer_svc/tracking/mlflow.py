"""A run's figures in MLflow, without a server: `mlflow ui --backend-store-uri sqlite:///<state>/mlflow.db`.

Invariant: a run of ours is one run of MLflow's, found by its tag; an incarnation that resumes goes on in it. Nothing
leaves the machine: the store is a SQLite file, and MLflow's reports about its own use are off.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.telemetry import set_telemetry_client
from mlflow.tracking import MlflowClient

from trainer_svc.figures.heldout import Measured
from trainer_svc.records.orders import Halt
from trainer_svc.tracking.tracker import Tracker, held_out_means, scalars

EXPERIMENT = "anamnesis"
RUN_TAG = "anamnesis.run_id"
# What MLflow lets a name consist of.
_FOREIGN = re.compile(r"[^\w.\- /]")
# The most that it takes of a parameter's value, and of parameters at once.
_LONGEST_VALUE, _PARAMETERS = 6000, 100

logger = logging.getLogger(__name__)

# Also where another library had imported MLflow before.
set_telemetry_client()


class MLflow(Tracker):
    def __init__(self, database: Path, run_id: str, incarnation: int, config: Mapping[str, Any]) -> None:
        """`config` is the run's whole configuration; its leaves become parameters."""
        self._client = MlflowClient(tracking_uri=f"sqlite:///{database.resolve()}")
        found = self._client.get_experiment_by_name(EXPERIMENT)
        artifacts = (database.parent / "mlflow-artifacts").resolve().as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT, artifacts)
        runs = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'")
        if runs:
            self._id = runs[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(experiment, tags={RUN_TAG: run_id}, run_name=run_id).info.run_id
            params = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in leaves(config)]
            for start in range(0, len(params), _PARAMETERS):
                self._client.log_batch(self._id, params=params[start : start + _PARAMETERS])
        self._client.log_batch(self._id, tags=[RunTag("anamnesis.incarnation", str(incarnation))])

    def step(self, figures: Mapping[str, Any]) -> None:
        self._tell(dict(scalars(figures)), int(figures["step"]))

    def held_out(self, step: int, values: Mapping[int, Measured]) -> None:
        self._tell(dict(held_out_means(values)), step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that was paused or cancelled did not fail.
        status = "FINISHED" if kind is None else "KILLED" if isinstance(error, Halt) else "FAILED"
        self._client.set_terminated(self._id, status)

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(_FOREIGN.sub("_", name), value, now, step) for name, value in values.items()]
        try:
            self._client.log_batch(self._id, metrics=metrics)
        except MlflowException as error:  # the run's events and its report have the figures too
            logger.warning("MLflow did not take the figures", extra={"step": step, "cause": str(error)})


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names, as overrides have them."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
