"""Settings of the rubric service: ANAMNESIS_RUBRIC_* or the TOML file that ANAMNESIS_RUBRIC_CONFIG names."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from service_kit.settings import ServiceSettings


class RubricSettings(ServiceSettings):
    grpc_port: int = 7102
    inference_frozen_target: str = "localhost:7104"
    """A name of one or several replicas, or several with commas between: a dialogue stays with one of them."""
    generator_target: str | None = None
    """A deployment of inference_svc like the frozen one, whose model was trained to write rubrics. Unset means the
    frozen one itself."""
    judge_spill_over: int = Field(12, ge=1)
    """Questions that a dialogue's replica may have in flight beyond the least loaded one, before that one gets them: to
    wait for another dialogue's dozen takes longer than to compute the prefix again."""
    case_store: Path | None = None
    """Directory of the case files. Without it only inline cases are answered."""
    void_share: float = Field(0.3, ge=0, le=1)
    """A score is void when more than this share of the rubric's absolute points is ungraded."""
    judge_threshold: float = Field(0.5, ge=0, le=1)
    """Probability of Yes from which the model's verdict is met."""
    judge_store: Path | None = None
    """Directory of trained judges (anamnesis judge train)."""
    judge_name: str = ""
    """The trained judge of the store that answers in place of the untrained model. Empty means none."""
    second_judge_target: str | None = None
    """An inference service of another model that gives second opinions, under the frozen deployment's name in TLS.
    Without it the judge of what no matcher decides gives them, on what matchers decided."""
    judge_turns: int = Field(4, ge=1)
    """The model sees so many of the last turns."""
    judge_seconds: float = Field(20.0, gt=0)
    coherence_seconds: float = Field(30.0, gt=0)
    generation_seconds: float = Field(60.0, gt=0)
    """For what the model writes of a rubric and the comparing of criteria by embeddings."""
    fragment_model_criteria: int = Field(1, ge=0, le=8)
    whole_model_criteria: int = Field(2, ge=0, le=8)
    score_concurrency: int = Field(16, ge=1)
    """Dialogues of one ScoreDialogues call that are judged at a time."""
    simulator_target: str = "localhost:7101"
    """Where the patients of an OSCE are."""
    candidates: dict[str, str] = Field(default_factory=lambda: {"policy": "grpc://localhost:7103"})
    """Models that may be evaluated, by name: grpc://host:port, or http(s)://host/v1#model of an OpenAI-like API."""
    candidate_api_key: SecretStr | None = None
    """Sent to OpenAI-compatible candidates."""
    healthbench_data: Path | None = None
    """HealthBench's JSONL. Without it that benchmark is refused."""
    evaluation_concurrency: int = Field(8, ge=1, le=256)
    osce_patients: int = Field(24, ge=1)
    osce_turns: int = Field(10, ge=1, le=64)
