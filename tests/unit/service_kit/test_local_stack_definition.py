"""stack.toml: the one that is shipped is whole, and a wrong one is refused before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from service_kit.local_stack.definition import Placement, ProcessDefinition, StackDefinition, load_definition


def process(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "command": ["true"], "ports": {name: 7000}, "ready": "", **more}


def test_the_shipped_stack_has_the_processes_and_ports_of_the_laptop() -> None:
    definition = load_definition()
    placement = Placement.of(definition, Path("state"), 0, None)
    assert placement.ports == {
        "broker": 7192,
        "gateway": 7100,
        "gateway_rest": 7180,
        "simulator": 7101,
        "rubric": 7102,
        "inference-policy": 7103,
        "inference-frozen": 7104,
        "trainer": 7105,
        "rollout-worker": 7106,
    }
    assert definition.names[0] == "broker"


def test_every_placeholder_of_the_shipped_stack_can_be_filled_and_every_port_moves(tmp_path: Path) -> None:
    definition = load_definition()
    placement = Placement.of(definition, tmp_path, 1000, "http://127.0.0.1:4317")
    text = ""
    for each in definition.process:
        text += " ".join([*placement.command(each), *placement.environment(each).values()]) + " "
    assert "{" not in text
    for port in (port for each in definition.process for port in each.ports.values()):
        assert f"{port}" not in text.replace(str(port + 1000), "")


def test_a_service_gets_its_port_state_directory_and_the_telemetry_endpoint(tmp_path: Path) -> None:
    definition = load_definition()
    trainer = definition.find("trainer")
    environment = Placement.of(definition, tmp_path, 50, "http://127.0.0.1:4317").environment(trainer)
    assert environment["ANAMNESIS_TRAINER_GRPC_PORT"] == "7155"
    assert environment["ANAMNESIS_TRAINER_STATE_DIR"] == str(tmp_path)
    assert environment["ANAMNESIS_TRAINER_OTLP_ENDPOINT"] == "http://127.0.0.1:4317"
    untraced = Placement.of(definition, tmp_path, 50, None).environment(trainer)
    assert "ANAMNESIS_TRAINER_OTLP_ENDPOINT" not in untraced


def test_a_directory_of_cases_reaches_every_process_that_reads_cases(tmp_path: Path) -> None:
    reading = load_definition().reading(tmp_path / "my-cases")
    assert reading == {
        "rubric": {"ANAMNESIS_RUBRIC_CASE_STORE": str(tmp_path / "my-cases")},
        "simulator": {"ANAMNESIS_SIMULATOR_CASE_DIRECTORY": str(tmp_path / "my-cases")},
        "rollout-worker": {"ANAMNESIS_ROLLOUT_CASE_DIRECTORY": str(tmp_path / "my-cases")},
        "trainer": {"ANAMNESIS_TRAINER_CASE_STORE": str(tmp_path / "my-cases")},
    }


def test_a_command_runs_in_this_environment(tmp_path: Path) -> None:
    definition = load_definition()
    command = Placement.of(definition, tmp_path, 0, None).command(definition.find("gateway"))
    assert command == [sys.executable, "-m", "gateway"]


@pytest.mark.parametrize(
    ("processes", "complaint"),
    [
        ([process("a"), process("a")], "a is listed twice"),
        ([process("a", depends_on=["b"]), process("b")], r"a depends on \['b'\], not listed before it"),
        ([process("a", ports={"b": 1})], "none of the ports of a bears its name"),
        ([process("a", colour="red")], "colour"),
        ([], "at least 1 item"),
    ],
)
def test_a_wrong_definition_is_refused(processes: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        StackDefinition.model_validate({"process": processes})


def test_an_offset_that_leaves_the_range_of_ports_is_refused() -> None:
    with pytest.raises(ValueError, match=r"leaves the range of ports: .*gateway = 67100"):
        Placement.of(load_definition(), Path("state"), 60000, None)


def test_an_unknown_process_is_named_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match=r"no process nurse; there are broker, .*gateway"):
        load_definition().find("nurse")


def test_a_definition_is_data_that_does_not_change() -> None:
    with pytest.raises(ValidationError):
        ProcessDefinition.model_validate(process("a")).name = "b"  # type: ignore[misc]
