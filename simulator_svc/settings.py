"""Every setting of the patient's server. Each default works on a laptop."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from service_kit.settings import ServiceSettings
from simulator_svc.patient import PatientSettings


class SimulatorSettings(ServiceSettings):
    grpc_port: int = Field(default=7101, ge=0, le=65535)
    inference_frozen_target: str = "localhost:7104"
    # One draft may take this long; then the patient answers in plain statements.
    draft_seconds: float = Field(default=8.0, gt=0, le=120)
    # And the embeddings of a question that no word answers; then words alone decide.
    embed_seconds: float = Field(default=1.0, gt=0, le=60)
    # A directory of case files (*.toml) instead of the built-in library.
    case_directory: Path | None = None
    patient: PatientSettings = PatientSettings()
