"""Settings of the rollout worker, ANAMNESIS_ROLLOUT_*. Every default works on a laptop."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from service_kit.kafka.settings import KafkaSettings
from service_kit.settings import ServiceSettings
from simulator_svc.patient import PatientSettings
from simulator_svc.rollout.patience import Patience


class Deadlines(BaseModel):
    """Seconds that one call may take. Generous where engines are shared: a slow turn costs less than a lost episode."""

    model_config = ConfigDict(extra="forbid")

    doctor_turn: float = Field(default=180.0, gt=0)
    patient_turn: float = Field(default=120.0, gt=0)
    scoring: float = Field(default=180.0, gt=0)


class RolloutSettings(ServiceSettings):
    grpc_port: int = 7106
    inference_policy_target: str = "localhost:7103"
    inference_frozen_target: str = "localhost:7104"
    rubric_target: str = "localhost:7102"
    # The patient, as in the simulator's server: one draft may take this long, then the patient answers plainly.
    draft_seconds: float = Field(default=8.0, gt=0, le=120)
    # And the embeddings of a question that no word answers; then words alone decide.
    embed_seconds: float = Field(default=1.0, gt=0, le=60)
    case_directory: Path | None = None
    patient: PatientSettings = PatientSettings()
    kafka: KafkaSettings = KafkaSettings()
    group: str = "rollout-workers"
    # The name that this replica keeps in the group when it is killed and starts again; empty means host and port.
    instance: str = Field(default="", pattern="^[A-Za-z0-9._-]{0,128}$")
    # Episodes played at once. The engine batches their turns, so this is also the greatest batch.
    concurrency: int = Field(default=32, ge=1, le=4096)
    deadlines: Deadlines = Deadlines()
    # How long a dependency may be away before an episode gives up.
    patience_seconds: float = Field(default=120.0, ge=0)
    # The longest sequence an episode may reach, in tokens; 0 means the policy's own context.
    max_sequence_tokens: int = Field(default=0, ge=0)
    # Of the training episodes, so many are judged a second time, by a judge that did not give the reward.
    second_opinion_share: float = Field(default=0.0, ge=0, le=1)
    poll_seconds: float = Field(default=0.2, gt=0, le=5)

    @property
    def instance_name(self) -> str:
        return self.instance or re.sub(r"[^A-Za-z0-9._-]", "-", f"{socket.gethostname()}-{self.grpc_port}")[-128:]

    @property
    def patience(self) -> Patience:
        return Patience(seconds=self.patience_seconds)
