"""A process starts with settings that were understood in full, or says what is wrong and does not start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from service_kit.kafka.settings import KafkaSettings, connection_options
from service_kit.settings import ServiceSettings, WrongSettings, load_settings, read_settings


class Deep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seconds: float = 1.0


class ProbeSettings(ServiceSettings):
    grpc_port: int = 7299
    target: str = "localhost:1"
    kafka: KafkaSettings = KafkaSettings()
    deep: Deep = Deep()
    labels: dict[str, str] = Field(default_factory=dict)
    names: list[str] = Field(default_factory=list)
    token: SecretStr | None = None


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ANAMNESIS_"):
            monkeypatch.delenv(name)


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings) as wrong:
        read_settings(ProbeSettings, "probe")
    return "\n".join(wrong.value.problems)


def test_the_defaults_are_enough() -> None:
    settings = read_settings(ProbeSettings, "probe")
    assert settings.grpc_port == 7299
    assert settings.kafka.bootstrap == "localhost:7192"


def test_the_environment_wins_over_the_file_field_by_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "probe.toml"
    config.write_text('target = "file:1"\nlog_level = "debug"\n[kafka]\nbootstrap = "file:2"\npartitions = 8\n')
    monkeypatch.setenv("ANAMNESIS_PROBE_CONFIG", str(config))
    monkeypatch.setenv("ANAMNESIS_PROBE_TARGET", "env:1")
    monkeypatch.setenv("ANAMNESIS_PROBE_KAFKA__BOOTSTRAP", "env:2")
    settings = read_settings(ProbeSettings, "probe")
    assert (settings.target, settings.log_level) == ("env:1", "DEBUG")
    assert (settings.kafka.bootstrap, settings.kafka.partitions) == ("env:2", 8)


def test_a_nested_model_set_in_part_keeps_the_rest_of_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tuned(ProbeSettings):
        kafka: KafkaSettings = KafkaSettings(partitions=16, bootstrap="here:1")

    monkeypatch.setenv("ANAMNESIS_PROBE_KAFKA__BOOTSTRAP", "there:1")
    settings = read_settings(Tuned, "probe")
    assert (settings.kafka.bootstrap, settings.kafka.partitions) == ("there:1", 16)


def test_lists_and_mappings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_PROBE_NAMES", '["a", "b"]')
    monkeypatch.setenv("ANAMNESIS_PROBE_LABELS__TEAM", "x")
    settings = read_settings(ProbeSettings, "probe")
    assert settings.names == ["a", "b"]
    assert settings.labels == {"team": "x"}


def test_an_empty_variable_is_as_none_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_PROBE_OTLP_ENDPOINT", "")
    assert read_settings(ProbeSettings, "probe").otlp_endpoint is None


def test_another_services_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_OTHER_NONSENSE", "1")
    monkeypatch.setenv("GRPC_PORT", "1")
    assert read_settings(ProbeSettings, "probe").grpc_port == 7299


def test_made_by_hand_it_holds_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("ANAMNESIS_PROBE_HOST", "0.0.0.0")
    assert ProbeSettings().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("ANAMNESIS_PROBE_GRPC_PORT", "seven", "grpc_port"),
        ("ANAMNESIS_PROBE_GRPC_PORT", "70000", "grpc_port"),
        ("ANAMNESIS_PROBE_LOG_LEVEL", "LOUD", "log_level"),
        ("ANAMNESIS_PROBE_OTLP_ENDPOINT", "localhost:4317", "otlp_endpoint"),
        ("ANAMNESIS_PROBE_DEEP__SECONDS", "soon", "deep.seconds"),
        ("ANAMNESIS_PROBE_KAFKA__PARTITIONS", "0", "kafka.partitions"),
        ("ANAMNESIS_PROBE_NAMES", "not json", "names"),
    ],
)
def test_a_wrong_value_is_refused_with_the_fields_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    assert named in problems(monkeypatch, **{variable: value})


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("ANAMNESIS_PROBE_GRPC_PROT", "ANAMNESIS_PROBE_GRPC_PORT"),
        ("ANAMNESIS_PROBE_KAFKA__BOOTSTRP", "ANAMNESIS_PROBE_KAFKA__BOOTSTRAP"),
        ("ANAMNESIS_PROBE_KAFKA_BOOTSTRAP", "ANAMNESIS_PROBE_KAFKA__BOOTSTRAP"),
    ],
)
def test_an_unknown_variable_is_refused_and_the_near_one_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, suggestion: str
) -> None:
    told = problems(monkeypatch, **{variable: "1"})
    assert variable in told and suggestion in told


def test_unknown_names_in_the_file_are_refused_at_any_depth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "probe.toml"
    config.write_text('targt = "x"\n[deep]\nsecond = 2\n')
    told = problems(monkeypatch, ANAMNESIS_PROBE_CONFIG=str(config))
    assert "targt" in told and "ANAMNESIS_PROBE_TARGET" in told
    assert "deep.second:" in told


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = problems(
        monkeypatch, ANAMNESIS_PROBE_GRPC_PORT="x", ANAMNESIS_PROBE_DRAIN_SECONDS="-1", ANAMNESIS_PROBE_X="1"
    )
    assert "grpc_port" in told and "drain_seconds" in told and "ANAMNESIS_PROBE_X" in told


@pytest.mark.parametrize("content", [None, "a = = b"])
def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    config = tmp_path / "missing.toml"
    if content is not None:
        config.write_text(content)
    assert str(config) in problems(monkeypatch, ANAMNESIS_PROBE_CONFIG=str(config))


def test_values_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = problems(monkeypatch, ANAMNESIS_PROBE_TOKEN="hunter2", ANAMNESIS_PROBE_GRPC_PORT="hunter3")
    assert "hunter" not in told


def test_the_process_ends_with_code_2_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANAMNESIS_PROBE_GRPC_PORT", "x")
    with pytest.raises(SystemExit) as ended:
        load_settings(ProbeSettings, "probe")
    assert ended.value.code == 2
    assert "grpc_port" in capsys.readouterr().err


def test_a_secured_kafka_is_a_matter_of_configuration() -> None:
    settings = KafkaSettings(
        bootstrap="a:1, b:2",
        security_protocol="SASL_SSL",
        ssl_cafile="/ca.pem",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="u",
        sasl_password=SecretStr("p"),
    )
    options = connection_options(settings, "me")
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["security_protocol"], options["sasl_plain_password"]) == ("SASL_SSL", "p")


@pytest.mark.parametrize("given", [{"security_protocol": "SASL_SSL"}, {"sasl_username": "u"}])
def test_half_of_sasl_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="sasl"):
        KafkaSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"ssl_cafile": "/ca.crt"}, "security_protocol must be SSL or SASL_SSL"),
        ({"security_protocol": "SSL", "ssl_certfile": "/own.crt"}, "go together"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, "sasl_username and sasl_password"),
    ],
)
def test_half_a_security_is_refused(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        KafkaSettings.model_validate(given)


def test_tls_is_set_from_the_environment_and_turns_reflection_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(ProbeSettings, "probe").offers_reflection
    for name, value in {"TLS__CERTIFICATE": "/c", "TLS__KEY": "/k", "TLS__CA": "/a", "HEALTH_PORT": "9000"}.items():
        monkeypatch.setenv(f"ANAMNESIS_PROBE_{name}", value)
    settings = read_settings(ProbeSettings, "probe")
    assert settings.tls is not None and settings.tls.ca == Path("/a")
    assert settings.health_port == 9000
    assert not settings.offers_reflection
    assert "tls.key" in problems(monkeypatch, ANAMNESIS_PROBE_TLS__KEY="")
