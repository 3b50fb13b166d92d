"""Every setting of the inference service. The policy and the frozen deployment differ by these alone."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from inference_svc.profiles.profile import Profile, filled_in
from service_kit.settings import ServiceSettings


class Deployment(StrEnum):
    POLICY = "policy"
    FROZEN = "frozen"


class Speculation(StrEnum):
    NONE = "none"
    # Looks up what followed the last words earlier in the text; needs no training.
    NGRAM = "ngram"
    # A head of the model's own, in draft_path.
    EAGLE3 = "eagle3"


class InferenceSettings(ServiceSettings):
    grpc_port: int = Field(default=7103, ge=0, le=65535)
    # A named set of the settings below (profiles/profiles.toml); what is set beside it wins.
    profile: Profile | None = None
    # Policy: its weights move. Frozen: patient, judge and embeddings; never updated.
    deployment: Deployment = Deployment.POLICY
    # The policy's log-probs train it: then nothing may stand between its weights and what is sampled.
    rollouts: bool = True
    # A Hugging Face directory; relative paths are under state_dir.
    model_path: Path = Path("models/smollm2-135m-instruct")
    # Empty means the directory's name.
    model_id: str = ""
    embedding_path: Path = Path("models/all-minilm-l6-v2")
    # What the installed vLLM must compute on; auto takes either.
    device: Literal["auto", "cpu", "gpu"] = "auto"
    # How the model's directory must be quantized; auto takes whatever it holds.
    weights: Literal["auto", "plain", "w8a8", "w4a16", "w4a8"] = "auto"
    # auto: bfloat16 where the processor computes it, otherwise float32 (emulated bfloat16 is several times slower).
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    max_model_len: int = Field(default=2048, ge=64)
    # Sequences in one engine step.
    max_num_seqs: int = Field(default=64, ge=1)
    # Requests taken in and not finished; beyond them RESOURCE_EXHAUSTED.
    max_unfinished: int = Field(default=1024, ge=1)
    # A rank's requests go before those of the next one that came up to this many seconds earlier.
    priority_ageing_seconds: float = Field(default=30.0, gt=0)
    kv_cache_gib: float = Field(default=1.0, gt=0)
    # Prefix-cache blocks: a shared prefix hits in whole blocks only. The CPU kernels want multiples of 32.
    block_size: int = Field(default=32, ge=16)
    # Without compilation the engine starts in seconds instead of minutes and is slower.
    eager: bool = True
    threads: int = Field(default=2, ge=1)
    embedding_threads: int = Field(default=1, ge=1)
    # What an idle OpenMP thread waits, spinning, before it sleeps. If it sleeps between the operations of a step,
    # waking it takes longer than they do (a step at batch 1: 3 times as long). Engines that share cores must not spin
    # longer.
    omp_block_microseconds: int = Field(default=200, ge=0)
    # GPU only: the share of its memory.
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    # GPUs that share the model; replicas are processes of their own.
    tensor_parallel: int = Field(default=1, ge=1)
    speculation: Speculation = Speculation.NONE
    # The EAGLE-3 head's directory; relative paths are under state_dir.
    draft_path: Path | None = None
    # Proposed in a round.
    speculative_tokens: int = Field(default=3, ge=1, le=16)
    # In larger batches nothing is proposed: there a refused token costs as much as one that is kept.
    speculation_max_batch: int = Field(default=8, ge=1)
    # Accepted tokens a round below which speculation turns itself off; None: measured at the start.
    speculation_break_even: float | None = Field(default=None, ge=0)
    # How long it then stays off before it is tried again; 0 is until the next start.
    speculation_rest_seconds: float = Field(default=600.0, ge=0)
    # How long an update waits for requests in flight (DRAIN).
    drain_limit_seconds: float = Field(default=120.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _with_its_profile(cls, given: Any) -> Any:
        return filled_in(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        wrong = list(self._contradictions())
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _contradictions(self) -> Iterator[str]:
        """What no machine and no model could make right."""
        if self.trains:
            off = "with deployment=policy and rollouts=true, whose log-probs train the policy: set rollouts=false"
            if self.speculation is not Speculation.NONE:
                yield f"speculation={self.speculation} is impossible {off}, or speculation=none"
            if self.kv_cache_dtype != "auto":
                yield f"kv_cache_dtype={self.kv_cache_dtype} is impossible {off}, or kv_cache_dtype=auto"
        if self.deployment is Deployment.POLICY and self.weights not in ("auto", "plain"):
            yield f"weights={self.weights} is impossible with deployment=policy: updates bring plain weights"
        if self.speculation is Speculation.EAGLE3 and self.draft_path is None:
            yield "speculation=eagle3 needs draft_path, the directory of the head"
        if self.speculation is not Speculation.EAGLE3 and self.draft_path is not None:
            yield f"draft_path is set, but speculation={self.speculation} reads none: set speculation=eagle3"
        if self.device == "cpu" and self.tensor_parallel > 1:
            yield f"tensor_parallel={self.tensor_parallel} is impossible with device=cpu: it spreads over GPUs"

    @property
    def trains(self) -> bool:
        """Whether rollouts of this engine train its model."""
        return self.deployment is Deployment.POLICY and self.rollouts

    def model_directory(self) -> Path:
        return self._placed(self.model_path)

    def embedding_directory(self) -> Path:
        return self._placed(self.embedding_path)

    def draft_directory(self) -> Path | None:
        return None if self.draft_path is None else self._placed(self.draft_path)

    def served_model(self) -> str:
        return self.model_id or self.model_path.name

    def weight_store(self) -> Path:
        return self.state_dir / "weights"

    def merged_weights(self) -> Path:
        """Where adapters go that were merged into the base; the store itself may be read-only."""
        return self.state_dir / "merged-weights" / str(self.grpc_port)

    def _placed(self, path: Path) -> Path:
        return path if path.is_absolute() else self.state_dir / path
