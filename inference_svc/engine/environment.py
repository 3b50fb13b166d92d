"""What vLLM and OpenMP read from the process environment.

Invariant: it is set from the settings before vllm or torch is imported, so nobody has to export anything, and what a
person did export for these names wins. Two engines, a trainer and the services share a laptop's cores: no thread of an
idle engine spins, none is bound to a core, and scheduler and model run in one process (with two, each waits for the
other by spinning).
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from inference_svc.settings import InferenceSettings


def configure_environment(settings: InferenceSettings, environment: MutableMapping[str, str] = os.environ) -> None:
    wanted = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CACHE_ROOT": str((settings.state_dir / "vllm-cache").resolve()),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(settings.threads),
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": f"{settings.omp_block_microseconds}us",
        "TOKENIZERS_PARALLELISM": "false",
    }
    for name, value in wanted.items():
        environment.setdefault(name, value)
    library = intel_openmp()
    preloaded = environment.get("LD_PRELOAD", "")
    if library is not None and "libiomp5" not in preloaded:
        # Takes effect in the engine's process, which is started afterwards.
        environment["LD_PRELOAD"] = f"{library}:{preloaded}" if preloaded else str(library)


def intel_openmp() -> Path | None:
    """The OpenMP that vllm-cpu's manual asks for, where its package is installed."""
    library = Path(sys.prefix) / "lib" / "libiomp5.so"
    return library if library.is_file() else None
