"""Named sets of settings.

Invariant: a profile holds nothing but the service's own settings, and only fills in what nobody set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

PROFILES = Path(__file__).with_name("profiles.toml")


class Profile(StrEnum):
    LATENCY = "latency"
    THROUGHPUT = "throughput"
    CPU = "cpu"
    GPU_24GB = "gpu-24gb"


@cache
def profiles() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(PROFILES.read_text(encoding="utf-8"))


def filled_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, and from its profile what was not. A profile that there is none of is left to validation."""
    return {**profiles().get(str(given.get("profile")), {}), **given}
