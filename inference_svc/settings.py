"""Every setting of the inference service. The policy and the frozen deployment differ by these alone."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from service_kit.settings import ServiceSettings


class Deployment(StrEnum):
    POLICY = "policy"
    FROZEN = "frozen"


class InferenceSettings(ServiceSettings):
    grpc_port: int = Field(default=7103, ge=0, le=65535)
    # Policy: its weights move. Frozen: patient, judge and embeddings; never updated.
    deployment: Deployment = Deployment.POLICY
    # A Hugging Face directory; relative paths are under state_dir.
    model_path: Path = Path("models/smollm2-135m-instruct")
    # Empty means the directory's name.
    model_id: str = ""
    embedding_path: Path = Path("models/all-minilm-l6-v2")
    # auto: bfloat16 where the processor computes it, otherwise float32 (emulated bfloat16 is several times slower).
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_model_len: int = Field(default=2048, ge=64)
    # Sequences in one engine step.
    max_num_seqs: int = Field(default=64, ge=1)
    # Requests taken in and not finished; beyond them RESOURCE_EXHAUSTED.
    max_unfinished: int = Field(default=1024, ge=1)
    kv_cache_gib: float = Field(default=1.0, gt=0)
    # Prefix-cache blocks: a shared prefix hits in whole blocks only. The CPU kernels want multiples of 32.
    block_size: int = Field(default=32, ge=16)
    # Without compilation the engine starts in seconds instead of minutes and is slower.
    eager: bool = True
    threads: int = Field(default=2, ge=1)
    embedding_threads: int = Field(default=1, ge=1)
    # What an idle OpenMP thread waits, spinning, before it sleeps. Engines that share cores must not spin.
    omp_block_milliseconds: int = Field(default=0, ge=0)
    # GPU only: the share of its memory.
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    # How long an update waits for requests in flight (DRAIN).
    drain_limit_seconds: float = Field(default=120.0, gt=0)

    def model_directory(self) -> Path:
        return self._placed(self.model_path)

    def embedding_directory(self) -> Path:
        return self._placed(self.embedding_path)

    def served_model(self) -> str:
        return self.model_id or self.model_path.name

    def weight_store(self) -> Path:
        return self.state_dir / "weights"

    def _placed(self, path: Path) -> Path:
        return path if path.is_absolute() else self.state_dir / path
