"""The trainer's process settings. What a run does is its preset's; where it runs is here."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from service_kit.kafka.settings import KafkaSettings
from service_kit.settings import ServiceSettings

PACKAGE = Path(__file__).parent


class TrainerSettings(ServiceSettings):
    """Where the trainer finds its model, its cases, its broker and the policy replicas."""

    grpc_port: int = Field(default=7105, ge=0, le=65535)
    kafka: KafkaSettings = KafkaSettings()
    # Every replica of the policy deployment, each by itself: UpdateWeights must reach them all. A name with several
    # addresses (a headless Service) stands for each of them.
    policy_targets: list[str] = Field(default=["localhost:7103"], min_length=1)
    # A Hugging Face directory; relative paths are under state_dir.
    model: Path = Path("models/smollm2-135m-instruct")
    # TOML cases, of which the trainer reads the id and the split alone.
    case_store: Path = PACKAGE.parent / "simulator_svc" / "cases" / "data"
    # Texts and tasks that the presets name; what training needs of them and is not there ends a run, saying so.
    data: Path = PACKAGE.parent.parent / "shared" / "data"
    # The sentence embeddings by which SFT draws its prompts; relative paths are under state_dir.
    embedder: Path = Path("models/all-minilm-l6-v2")
    # What keeps a run's curves: TensorBoard's files in its directory, or MLflow in one SQLite file of state_dir.
    tracker: Literal["tensorboard", "mlflow"] = "tensorboard"
    # Start again what the last process left unfinished.
    auto_resume: bool = True
    # A run that makes no progress for this long fails, and says what it waited for.
    stall_seconds: float = Field(default=600.0, gt=0)
    update_deadline_seconds: float = Field(default=120.0, gt=0)
    threads: int = Field(default=2, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)

    def model_path(self) -> Path:
        return self.model if self.model.is_absolute() else self.state_dir / self.model

    def model_of(self, run_id: str) -> Path:
        """What a run leaves for the next one; without a run, the trainer's own model."""
        return self.run_directory(run_id) / "model" if run_id else self.model_path()

    def embedder_path(self) -> Path:
        return self.embedder if self.embedder.is_absolute() else self.state_dir / self.embedder

    def database(self) -> Path:
        return self.state_dir / "trainer.db"

    def run_directory(self, run_id: str) -> Path:
        return self.state_dir / "runs" / run_id

    def weight_store(self) -> Path:
        return self.state_dir / "weights"

    def export_store(self) -> Path:
        return self.state_dir / "exports"
