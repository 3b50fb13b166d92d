"""The collector's configuration holds together, keeps what must be kept, and names things as the services do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from anamnesis.inference.v1 import inference_pb2
from k8s.check.rules.arrows import OTLP, OTLP_PORT

HERE = Path(__file__).parents[3] / "k8s" / "collector"
CONFIG: dict[str, Any] = yaml.safe_load((HERE / "collector.yaml").read_text(encoding="utf-8"))
MANIFESTS = list(yaml.safe_load_all((HERE / "workload.yaml").read_text(encoding="utf-8")))
(DEPLOYMENT,) = [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"]
(SERVICE,) = [manifest for manifest in MANIFESTS if manifest["kind"] == "Service"]
(CONTAINER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]


def policies() -> dict[str, dict[str, Any]]:
    return {policy["name"]: policy for policy in CONFIG["processors"]["tail_sampling"]["policies"]}


def test_every_part_is_in_a_pipeline_and_every_pipeline_is_of_parts() -> None:
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in CONFIG["service"]["pipelines"].values() for name in pipeline[kind]}
        assert used == set(CONFIG[kind]), kind
    assert set(CONFIG["service"]["extensions"]) == set(CONFIG["extensions"])


def test_memory_is_limited_first_and_batches_are_made_last() -> None:
    for pipeline in CONFIG["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"
        assert pipeline["processors"][-1] == "batch"


def test_metrics_are_not_sampled() -> None:
    assert "tail_sampling" not in CONFIG["service"]["pipelines"]["metrics"]["processors"]


def test_errors_slow_traces_and_training_steps_are_kept_and_a_share_of_the_rest() -> None:
    kept = policies()
    assert kept["errors"]["status_code"] == {"status_codes": ["ERROR"]}
    assert kept["slow-for-a-user"]["and"]["and_sub_policy"][1]["latency"]["threshold_ms"] == 5000
    assert kept["training-steps"]["ottl_condition"]["span"] == ['name == "trainer.step"']
    assert 0 < kept["a-share-of-the-rest"]["probabilistic"]["sampling_percentage"] < 100
    for policy in kept.values():
        assert policy["type"] in policy, policy["name"]


def test_the_method_that_is_kept_exists() -> None:
    service = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"]
    methods = {f"{service.full_name}/{method.name}" for method in service.methods}
    assert set(policies()["new-weights"]["string_attribute"]["values"]) <= methods


def test_a_trace_is_judged_only_where_all_its_spans_meet() -> None:
    assert DEPLOYMENT["spec"]["replicas"] == 1 and DEPLOYMENT["spec"]["strategy"]["type"] == "Recreate"
    wait = int(CONFIG["processors"]["tail_sampling"]["decision_wait"].removesuffix("s"))
    assert DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > wait


def test_ports_and_labels_are_those_that_the_services_and_their_policies_know() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports["otlp"] == OTLP_PORT
    assert CONFIG["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(f":{ports['otlp']}")
    assert CONFIG["exporters"]["prometheus"]["endpoint"].endswith(f":{ports['metrics']}")
    assert CONFIG["extensions"]["health_check"]["endpoint"].endswith(f":{ports['health']}")
    assert dict(OTLP.labels).items() <= DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    assert DEPLOYMENT["metadata"]["namespace"] == OTLP.namespace
    assert SERVICE["metadata"]["name"] == "otel-collector"


def test_every_variable_of_the_configuration_is_given() -> None:
    text = (HERE / "collector.yaml").read_text(encoding="utf-8")
    asked = {part.partition("}")[0] for part in text.split("${env:")[1:]}
    assert asked == {variable["name"] for variable in CONTAINER["env"]}


def test_prometheus_gets_the_labels_suffixes_and_exemplars_that_queries_and_table_count_on() -> None:
    exporter = CONFIG["exporters"]["prometheus"]
    assert exporter["resource_to_telemetry_conversion"]["enabled"]
    assert exporter["add_metric_suffixes"] and exporter["enable_open_metrics"]
