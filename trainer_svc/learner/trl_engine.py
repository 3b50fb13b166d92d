"""TRL's trainers without vLLM. Where vLLM is installed TRL imports it whole for a generation that is never used.

That is half of a run's start. In the trainer's own image vLLM is absent and this changes nothing.
"""

import importlib

setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda min_version=None: False)  # noqa: B010

from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

__all__ = ["GRPOConfig", "GRPOTrainer", "SFTConfig", "SFTTrainer"]
