"""The contracts are clean, light, and say what a good request is; the packages keep to their places."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from anamnesis.gateway.v1 import consultation_pb2, evaluation_pb2, training_pb2
from anamnesis.inference.v1 import inference_pb2
from anamnesis.rubric.v1 import evaluation_pb2 as rubric_evaluation_pb2
from anamnesis.rubric.v1 import rubric_pb2
from anamnesis.simulator.v1 import simulator_pb2
from anamnesis.trainer.v1 import trainer_pb2

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "inference_svc", "rubric_svc", "simulator_svc", "trainer_svc")
CONTRACTS = (
    consultation_pb2,
    evaluation_pb2,
    training_pb2,
    inference_pb2,
    rubric_pb2,
    rubric_evaluation_pb2,
    simulator_pb2,
    trainer_pb2,
)
HEAVY = ("torch", "vllm", "transformers", "trl")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_buf_lint_is_clean(tmp_path: Path) -> None:
    image = tmp_path / "contracts.binpb"
    made = run(sys.executable, "protos/generate.py", "--image", str(image))
    assert made.returncode == 0, made.stderr
    buf = Path(sys.executable).with_name("buf")
    linted = run(str(buf), "lint", str(image), "--config", "protos/buf.yaml", "--path", "anamnesis")
    assert linted.returncode == 0, linted.stdout + linted.stderr


def every_method() -> Iterator[MethodDescriptor]:
    for contract in CONTRACTS:
        for service in contract.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def has_rule(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().HasExtension(validate_pb2.field))


def is_bounded_by_its_type(field: FieldDescriptor) -> bool:
    """Any value of these is within reason: a flag, a seed, a moment. Text, lists and bytes are not."""
    if field.is_repeated:
        return False
    if field.message_type is not None:
        return True  # its own fields are looked at in their turn
    return bool(field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_ENUM))


def messages_below(message: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    if message.full_name in seen or message.full_name.startswith("google.protobuf."):
        return
    seen.add(message.full_name)
    if not message.GetOptions().map_entry:  # a map's rule stands on the field
        yield message
    for field in message.fields:
        if field.message_type is not None:
            yield from messages_below(field.message_type, seen)


@pytest.mark.parametrize("method", every_method(), ids=lambda method: method.full_name)
def test_every_request_bounds_what_it_takes(method: MethodDescriptor) -> None:
    unbounded = [
        field.full_name
        for message in messages_below(method.input_type, set())
        for field in message.fields
        if not has_rule(field) and not is_bounded_by_its_type(field)
    ]
    assert not unbounded


@pytest.mark.parametrize("module", [contract.__name__ for contract in CONTRACTS])
def test_the_contracts_import_nothing_heavy(module: str) -> None:
    assert_light(f"import {module}_grpc")


@pytest.mark.parametrize(
    "module",
    ["service_kit.grpc.serving", "service_kit.grpc.channel", "service_kit.kafka.consumer", "service_kit.settings"],
)
def test_service_kit_imports_nothing_heavy(module: str) -> None:
    assert_light(f"import {module}")


def assert_light(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = run(sys.executable, "-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def imported_packages(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", ["service_kit", *SERVICES])
def test_a_package_imports_no_other_service(package: str) -> None:
    others = set(SERVICES) - {package}
    trespassing = {
        str(path.relative_to(REPOSITORY)): sorted(imported_packages(path) & others)
        for path in (REPOSITORY / package).rglob("*.py")
        if imported_packages(path) & others
    }
    assert not trespassing


def test_the_contracts_import_no_package_of_the_project() -> None:
    for path in (REPOSITORY / "protos" / "gen" / "anamnesis").rglob("*.py"):
        assert not imported_packages(path) & {"service_kit", *SERVICES}, path
