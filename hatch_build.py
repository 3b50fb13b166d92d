"""The package build generates the contracts first, so that no wheel and no editable install is ever without them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GenerateContracts(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        runpy.run_path(str(Path(self.root) / "protos" / "generate.py"), run_name="__main__")
        if version != "editable":  # an editable install reads protos/gen in place
            for package in ("anamnesis", "buf"):
                build_data["force_include"][f"protos/gen/{package}"] = package
