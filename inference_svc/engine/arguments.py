"""vLLM's arguments for a deployment, and why each is so."""

from __future__ import annotations

from typing import Any

from inference_svc.engine.speculation import SPECULATION
from inference_svc.settings import InferenceSettings, Speculation

# The shortest and the longest end of the text that lookup looks for earlier in it, in tokens.
LOOKUP_WORDS = (2, 4)


def engine_arguments(settings: InferenceSettings) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    chosen: dict[str, Any] = {
        "model": str(settings.model_directory()),
        "dtype": engine_dtype(settings.dtype, on_cpu),
        "load_format": "safetensors",
        "enforce_eager": settings.eager,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "block_size": settings.block_size,
        "enable_prefix_caching": True,
        # The log-probs of what was sampled, at the temperature it was sampled with: the trainer needs these.
        "logprobs_mode": "processed_logprobs",
        "max_logprobs": 1,
        "scheduling_policy": "priority",
        # Else a schema's answer may run away into white space.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        # What a request does not set is vLLM's neutral default, not the model directory's.
        "generation_config": "vllm",
        "enable_log_requests": False,
        "disable_log_stats": True,
        "kv_cache_dtype": settings.kv_cache_dtype,
        "tensor_parallel_size": settings.tensor_parallel,
    }
    chosen |= speculative_arguments(settings, on_cpu)
    if on_cpu:
        chosen |= {
            "distributed_executor_backend": "uni",
            "kv_cache_memory_bytes": int(settings.kv_cache_gib * 2**30),
            # vLLM 0.32 on a CPU: when a prompt is split over two steps, a request with a seed kills the engine
            # ("CPU Generator does not use offset"). So no prompt is split.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(2048, settings.max_model_len),
        }
    else:
        chosen["gpu_memory_utilization"] = settings.gpu_memory_utilization
    return AsyncEngineArgs(**chosen)


def speculative_arguments(settings: InferenceSettings, on_cpu: bool) -> dict[str, Any]:
    if settings.speculation is Speculation.NONE:
        return {}
    tokens, largest = settings.speculative_tokens, min(settings.speculation_max_batch, settings.max_num_seqs)
    table = [(1, largest, tokens)]
    if largest < settings.max_num_seqs:
        table.append((largest + 1, settings.max_num_seqs, 0))
    config: dict[str, Any] = {
        "method": str(settings.speculation),
        "num_speculative_tokens": tokens,
        "num_speculative_tokens_per_batch_size": table,
    }
    by_lookup = settings.speculation is Speculation.NGRAM
    if by_lookup:
        config |= {"prompt_lookup_min": LOOKUP_WORDS[0], "prompt_lookup_max": LOOKUP_WORDS[1]}
    else:
        config["model"] = str(settings.draft_directory())
    watch = {"break_even": settings.speculation_break_even, "rest_seconds": settings.speculation_rest_seconds}
    # vLLM schedules ahead of the sampled tokens, but not on a CPU; and lookup needs them first.
    ahead = not by_lookup and not on_cpu
    return {
        "speculative_config": config,
        "async_scheduling": ahead,
        "scheduler_cls": f"inference_svc.engine.scheduler.Watching{'Async' if ahead else ''}Scheduler",
        "additional_config": {SPECULATION: watch},
    }


def engine_dtype(wanted: str, on_cpu: bool) -> str:
    """`auto` on a CPU: bfloat16 only where the processor has instructions for it."""
    if wanted != "auto":
        return wanted
    if not on_cpu:
        return "bfloat16"
    import torch

    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
