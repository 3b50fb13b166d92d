"""Prints every instrument that the services' code creates, as JSON lines, without exporting or starting anything."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from opentelemetry import metrics

PACKAGES = ("service_kit", "gateway", "simulator_svc", "rubric_svc", "inference_svc", "trainer_svc")
KINDS = {
    "create_counter": "counter",
    "create_up_down_counter": "up_down_counter",
    "create_histogram": "histogram",
    "create_gauge": "gauge",
    "create_observable_gauge": "gauge",
    "create_observable_counter": "counter",
    "create_observable_up_down_counter": "up_down_counter",
}


class Recorder(metrics.NoOpMeter):
    def __getattribute__(self, name: str) -> Any:
        create = super().__getattribute__(name)
        if name not in KINDS:
            return create
        observable = "observable" in name

        def record(instrument: str, *arguments: Any, **named: Any) -> Any:
            after = arguments[1:] if observable else arguments
            unit = named.get("unit", after[0] if after else "")
            description = named.get("description", after[1] if len(after) > 1 else "")
            declared = {"name": instrument, "type": KINDS[name], "unit": unit, "description": description}
            print(json.dumps(declared))
            return create(instrument, *arguments, **named)

        return record


class Provider(metrics.NoOpMeterProvider):
    def get_meter(self, name: str, *arguments: Any, **named: Any) -> metrics.Meter:
        return Recorder(name)


def main() -> None:
    metrics.set_meter_provider(Provider())
    root = Path(__file__).parents[3]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if "get_meter(" in path.read_text(encoding="utf-8"):
                importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
    # Those that are made with what they measure.
    from inference_svc.engine.gauges import EngineGauges
    from inference_svc.telemetry.measures import Measures
    from service_kit.grpc.admission import Admission
    from simulator_svc.rollout import measures as rollout

    Measures("policy", EngineGauges())
    Admission("test", 1)
    rollout.observe(lambda: 0)


if __name__ == "__main__":
    main()
