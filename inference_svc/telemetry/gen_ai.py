"""Attributes of a generation, named as OpenTelemetry's GenAI conventions say. Never what was asked or answered.

The stop strings are left out too: they come with the request and may quote it.
"""

from __future__ import annotations

from enum import StrEnum

from opentelemetry.util.types import AttributeValue

from inference_svc.engine.requests import Sampling

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
MAX_TOKENS = "gen_ai.request.max_tokens"
TEMPERATURE = "gen_ai.request.temperature"
TOP_P = "gen_ai.request.top_p"
TOP_K = "gen_ai.request.top_k"
SEED = "gen_ai.request.seed"
OUTPUT_TYPE = "gen_ai.output.type"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
# Advised for durations of GenAI requests, and for the first and each later token.
DURATION_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
)  # fmt: skip
NEXT_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


class Operation(StrEnum):
    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    # Ours, since the conventions have no word for weighing given answers.
    CHOOSE = "choose"


def asked(operation: Operation, model: str) -> dict[str, AttributeValue]:
    """Of the span and of its metrics."""
    return {OPERATION: operation, PROVIDER: "vllm" if operation is not Operation.EMBEDDINGS else "transformers",
            REQUEST_MODEL: model}  # fmt: skip


def sampled_with(sampling: Sampling) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        MAX_TOKENS: sampling.max_tokens,
        TEMPERATURE: sampling.temperature,
        TOP_P: sampling.top_p,
        OUTPUT_TYPE: "json" if sampling.json_schema is not None else "text",
    }
    if sampling.top_k:
        attributes[TOP_K] = sampling.top_k
    if sampling.seed is not None:
        attributes[SEED] = sampling.seed
    return attributes
