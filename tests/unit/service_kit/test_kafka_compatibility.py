"""Readers and writers of two versions of a contract understand each other; a new major version is put aside by name.

The contract is the real one of trajectories and requests, compiled twice here: as it is, and with fields added as the
next minor version would add them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc

from anamnesis.common.v1.rollout_pb2 import RolloutRequest, Trajectory
from protos.generate import write_validate_descriptors
from service_kit.kafka.envelope import SCHEMA_MAJOR, Undecodable, headers_of, unpack

PROTOS = Path(__file__).resolve().parents[3] / "protos"
ROLLOUT = "anamnesis/common/v1/rollout.proto"
PACKAGE = "anamnesis.common.v1"
ADDED = "optional string added_later = 1999; repeated int32 added_list = 1998;"
Find = Callable[[str], type[Message]]


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """The message types of the next version, in a descriptor pool of their own."""
    scratch = tmp_path_factory.mktemp("protos")
    shutil.copytree(PROTOS / "anamnesis", scratch / "anamnesis")
    text = (scratch / ROLLOUT).read_text(encoding="utf-8")
    for name in ("RolloutRequest", "Trajectory"):
        assert text.count(f"message {name} {{") == 1
        text = text.replace(f"message {name} {{", f"message {name} {{ {ADDED}")
    (scratch / ROLLOUT).write_text(text, encoding="utf-8")
    validate, compiled = scratch / "validate.binpb", scratch / "newer.binpb"
    write_validate_descriptors(validate)
    bundled = str(resources.files("grpc_tools") / "_proto")
    sources = [f"--proto_path={scratch}", f"--proto_path={bundled}", f"--descriptor_set_in={validate}"]
    assert protoc.main(["protoc", *sources, f"--descriptor_set_out={compiled}", "--include_imports", ROLLOUT]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file:
        pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


@pytest.mark.parametrize("name", ["RolloutRequest", "Trajectory"])
def test_an_old_reader_reads_a_new_message_and_hands_on_what_it_does_not_know(newer: Find, name: str) -> None:
    old: type[Message] = RolloutRequest if name == "RolloutRequest" else Trajectory
    identity = "request_id" if name == "RolloutRequest" else "trajectory_id"
    written = newer(name)(added_later="new", added_list=[1, 2], **{identity: "r-1"})
    read: Message = unpack(old, headers_of(written), written.SerializeToString())
    assert getattr(read, identity) == "r-1"
    again = newer(name).FromString(read.SerializeToString())
    assert again == written  # an old service on the way loses nothing of it


@pytest.mark.parametrize("name", ["RolloutRequest", "Trajectory"])
def test_a_new_reader_reads_an_old_message_and_finds_its_own_fields_unset(newer: Find, name: str) -> None:
    if name == "RolloutRequest":
        written: Message = RolloutRequest(request_id="r-1", group_size=4)
    else:
        written = Trajectory(trajectory_id="t-1", request=RolloutRequest(request_id="r-1"))
    read: Any = unpack(newer(name), headers_of(written), written.SerializeToString())
    assert not read.HasField("added_later")
    assert list(read.added_list) == []
    assert read.SerializeToString() == written.SerializeToString()


def versioned(version: bytes | None) -> list[tuple[str, bytes]]:
    kept = [(name, value) for name, value in headers_of(RolloutRequest()) if name != "schema-version"]
    return kept if version is None else [*kept, ("schema-version", version)]


@pytest.mark.parametrize("version", [b"1", b"1.0", b"1.7"])
def test_every_minor_version_of_our_major_is_read(version: bytes) -> None:
    assert SCHEMA_MAJOR == 1
    value = RolloutRequest(request_id="r-1").SerializeToString()
    assert unpack(RolloutRequest, versioned(version), value).request_id == "r-1"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (b"2", "NEWER_SCHEMA_VERSION"),
        (b"2.1", "NEWER_SCHEMA_VERSION"),
        (b"10", "NEWER_SCHEMA_VERSION"),
        (b"0", "OLDER_SCHEMA_VERSION"),
        (b"one", "UNKNOWN_SCHEMA_VERSION"),
        (b"1.", "UNKNOWN_SCHEMA_VERSION"),
        (b"", "UNKNOWN_SCHEMA_VERSION"),
        (None, "UNKNOWN_SCHEMA_VERSION"),
    ],
)
def test_any_other_version_is_put_aside_by_name(version: bytes | None, reason: str) -> None:
    with pytest.raises(Undecodable) as raised:
        unpack(RolloutRequest, versioned(version), b"")
    assert raised.value.reason == reason
