"""The table of metrics is what the code creates, under the names that Prometheus gives them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from k8s.telemetry.catalogue import UnknownMetric, catalogue, metrics_of, series

# Created by OpenTelemetry's own instrumentation of FastAPI; a running stack is compared with the table too.
FOREIGN = "http.server."


def test_the_table_is_what_the_code_creates() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.k8s.declared_instruments"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    created = [json.loads(line) for line in done.stdout.splitlines()]
    declared = {row["name"]: (row["type"], row["unit"], row["description"]) for row in created}
    listed = {m.name: (m.type, m.unit, m.description) for m in catalogue().values() if not m.name.startswith(FOREIGN)}
    assert declared == listed


def test_every_metric_says_what_it_is_and_has_a_unit() -> None:
    for metric in catalogue().values():
        assert metric.description and metric.unit and metric.services, metric.name


@pytest.mark.parametrize(
    "name, part, expected",
    [
        ("rpc.server.call.duration", "bucket", "rpc_server_call_duration_seconds_bucket"),
        ("rpc.server.active_calls", "", "rpc_server_active_calls"),
        ("inference.engine.waiting", "", "inference_engine_waiting"),
        ("inference.engine.kv_cache_usage", "", "inference_engine_kv_cache_usage_ratio"),
        ("anamnesis.rollout.episodes", "", "anamnesis_rollout_episodes_total"),
        ("anamnesis.trainer.tokens_per_second", "", "anamnesis_trainer_tokens_per_second"),
        ("anamnesis.trainer.seconds", "", "anamnesis_trainer_seconds"),
        ("http.server.request.body.size", "count", "http_server_request_body_size_bytes_count"),
    ],
)
def test_prometheus_names_are_built_as_the_exporter_builds_them(name: str, part: str, expected: str) -> None:
    assert series(name, part) == expected


def test_a_misspelt_metric_is_found_when_it_is_written() -> None:
    with pytest.raises(UnknownMetric):
        series("inference.engine.wating")
    with pytest.raises(UnknownMetric):
        series("inference.engine.waiting", "bucket")
    with pytest.raises(UnknownMetric):
        metrics_of("sum(rate(inference_token_total{}[5m]))")


def test_a_querys_metrics_are_found() -> None:
    query = 'sum by (service_name) (rate(inference_tokens_total{kind="generated"}[5m])) / sum(job:errors:ratio{})'
    assert metrics_of(query) == {"inference.tokens"}
