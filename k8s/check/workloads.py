"""What each workload runs: its settings, and the names under which its health answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.settings import GatewaySettings
from inference_svc.settings import InferenceSettings
from rubric_svc.settings import RubricSettings
from service_kit.settings import ServiceSettings
from simulator_svc.rollout.__main__ import READINESS
from simulator_svc.rollout.settings import RolloutSettings
from simulator_svc.settings import SimulatorSettings
from trainer_svc.settings import TrainerSettings

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workload:
    name: str
    settings: type[ServiceSettings]
    service: str
    """As load_settings takes it: ANAMNESIS_<SERVICE>_*."""
    module: str
    health: frozenset[str]
    """Full names of the gRPC services whose readiness its health tells."""

    @property
    def prefix(self) -> str:
        return f"ANAMNESIS_{self.service.upper()}_"

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def proto_services(package: str) -> frozenset[str]:
    """Full names of the services that the contracts of `anamnesis.<package>.v1` declare."""
    return frozenset(_services(sorted((REPOSITORY / "protos" / "anamnesis" / package / "v1").glob("*.proto"))))


def _services(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        text = file.read_text(encoding="utf-8")
        declared = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        assert declared is not None, f"{file} has no package"
        for name in re.findall(r"^service (\w+) ", text, re.MULTILINE):
            yield f"{declared[1]}.{name}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("gateway", GatewaySettings, "gateway", "gateway", proto_services("gateway")),
        Workload("simulator", SimulatorSettings, "simulator", "simulator_svc", proto_services("simulator")),
        Workload("rubric", RubricSettings, "rubric", "rubric_svc", proto_services("rubric")),
        Workload("inference-policy", InferenceSettings, "inference", "inference_svc", proto_services("inference")),
        Workload("inference-frozen", InferenceSettings, "inference", "inference_svc", proto_services("inference")),
        Workload("rollout-worker", RolloutSettings, "rollout", "simulator_svc.rollout", frozenset({READINESS})),
        Workload("trainer", TrainerSettings, "trainer", "trainer_svc", proto_services("trainer")),
    )
}
