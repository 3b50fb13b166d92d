"""Which tracker keeps a run's curves, as the settings say."""

from __future__ import annotations

from trainer_svc.flow.requests import Plan
from trainer_svc.settings import TrainerSettings
from trainer_svc.tracking.tracker import Tracker, TrackerMissing


def tracker_of(settings: TrainerSettings, plan: Plan, incarnation: int) -> Tracker:
    """Raises TrackerMissing."""
    if settings.tracker == "mlflow":
        try:
            from trainer_svc.tracking.mlflow import MLflow
        except ImportError as error:
            raise TrackerMissing(
                f"tracker is mlflow, and it is not installed (extra trainer-mlflow): {error}"
            ) from error
        config = plan.config.model_dump(mode="json")
        return MLflow(settings.state_dir / "mlflow.db", plan.run_id, incarnation, config)
    from trainer_svc.tracking.tensorboard import TensorBoard

    return TensorBoard(settings.run_directory(plan.run_id) / "tensorboard", incarnation)
