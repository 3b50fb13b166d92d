"""TRL's trainers without vLLM, and without reports to MLflow's makers.

Where vLLM is installed TRL imports it whole for a generation that is never used: half of a run's start. Where MLflow is
installed TRL imports it too, and it would tell of its use.
"""

import importlib
import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda min_version=None: False)  # noqa: B010

from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

__all__ = ["GRPOConfig", "GRPOTrainer", "SFTConfig", "SFTTrainer"]
