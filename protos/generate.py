"""Builds the Python code of the contracts into protos/gen, for `make protos` and for the package build.

Invariant: what is generated is a function of the .proto files and the pinned tools alone, and is never committed.
`buf/validate/validate.proto` is not vendored: it is taken from the descriptor that the protovalidate package carries.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protobuf import DescFile

PROTOS = Path(__file__).resolve().parent
OUTPUT = PROTOS / "gen"
VALIDATE = "buf/validate/validate.proto"


def write_validate_descriptors(target: Path) -> None:
    """Write a FileDescriptorSet with buf/validate/validate.proto and all that it imports."""
    from google.protobuf import descriptor_pb2
    from protovalidate import ViolationPb

    descriptors = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: DescFile) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        descriptors.file.add().ParseFromString(file.proto.to_binary())

    add(ViolationPb.desc().file)
    target.write_bytes(descriptors.SerializeToString())


def run_protoc(arguments: list[str]) -> None:
    """Run protoc over every contract. Raises SystemExit, after protoc's own message, where one does not compile."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as scratch:
        validate = Path(scratch) / "validate.binpb"
        write_validate_descriptors(validate)
        bundled = str(resources.files("grpc_tools") / "_proto")
        files = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "anamnesis").rglob("*.proto"))
        sources = [f"--proto_path={PROTOS}", f"--proto_path={bundled}", f"--descriptor_set_in={validate}"]
        code = protoc.main(["protoc", *sources, *arguments, *files, VALIDATE])
    if code != 0:
        raise SystemExit(f"protoc failed with exit code {code}")


def generate() -> None:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    run_protoc(
        [
            f"--python_out={OUTPUT}",
            f"--grpc_python_out={OUTPUT}",
            f"--mypy_out=quiet:{OUTPUT}",
            f"--mypy_grpc_out=quiet,only_async:{OUTPUT}",
        ]
    )
    for folder in [path for path in OUTPUT.rglob("*") if path.is_dir()]:
        (folder / "__init__.py").touch()
        (folder / "py.typed").touch()


def write_image(target: Path) -> None:
    """Write the contracts as one buf image, which `buf lint` and `buf breaking` read without a network."""
    run_protoc([f"--descriptor_set_out={target}", "--include_imports", "--include_source_info"])


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--image":
        write_image(Path(sys.argv[2]))
    else:
        generate()
