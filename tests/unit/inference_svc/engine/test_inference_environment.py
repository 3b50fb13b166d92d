"""What the engine's process will find in its environment."""

from __future__ import annotations

from pathlib import Path

from inference_svc.engine.arguments import engine_dtype
from inference_svc.engine.environment import configure_environment, intel_openmp
from inference_svc.settings import InferenceSettings


def test_idle_threads_do_not_spin_and_none_is_bound() -> None:
    environment: dict[str, str] = {}
    configure_environment(InferenceSettings(threads=2), environment)
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment["OMP_WAIT_POLICY"] == "passive"
    assert environment["KMP_BLOCKTIME"] == "200us"
    assert environment["OMP_NUM_THREADS"] == "2"


def test_nothing_is_downloaded_or_reported() -> None:
    environment: dict[str, str] = {}
    configure_environment(InferenceSettings(state_dir=Path("/some/where")), environment)
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["VLLM_CACHE_ROOT"] == "/some/where/vllm-cache"


def test_what_a_person_exported_wins() -> None:
    environment = {"OMP_NUM_THREADS": "7", "LD_PRELOAD": "/x/libjemalloc.so"}
    configure_environment(InferenceSettings(), environment)
    assert environment["OMP_NUM_THREADS"] == "7"
    assert environment["LD_PRELOAD"].endswith("/x/libjemalloc.so")


def test_intel_openmp_is_preloaded_once() -> None:
    library = intel_openmp()
    assert library is not None
    environment: dict[str, str] = {}
    configure_environment(InferenceSettings(), environment)
    configure_environment(InferenceSettings(), environment)
    assert environment["LD_PRELOAD"] == str(library)


def test_a_gpu_computes_in_bfloat16_and_a_wish_is_kept() -> None:
    assert engine_dtype("auto", on_cpu=False) == "bfloat16"
    assert engine_dtype("float16", on_cpu=True) == "float16"
    assert engine_dtype("auto", on_cpu=True) in ("bfloat16", "float32")
