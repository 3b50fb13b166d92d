"""What may be loaded: the directories of the weight store.

Invariant: a path that is accepted lies inside the store after every link is followed, holds one safetensors file and
nothing that is unpickled, has the announced digest, and fits the base model tensor by tensor. All of this is known
before the engine is touched. The store itself is only read: an adapter is merged into the base outside of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from inference_svc.weights.adapters import ADAPTER, checked_adapter, merge
from inference_svc.weights.versions import Version
from service_kit.errors import FailedPrecondition, InvalidArgument, NotFound, ServiceError

WEIGHTS = "model.safetensors"
CURRENT = "CURRENT.json"
# Files that vLLM's loaders would read beside or instead of the checked one.
FOREIGN = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.index.json", "*.gguf")
FLOATS = ("F32", "BF16", "F16")


class Format(StrEnum):
    """The words of the manifest and of the contract."""

    FULL = "SAFETENSORS_FULL"
    LORA = "SAFETENSORS_LORA"

    @property
    def file(self) -> str:
        return WEIGHTS if self is Format.FULL else ADAPTER


@dataclass(frozen=True)
class Announced:
    """A version, where it lies in the store, and the digest of its file."""

    version: Version
    path: str
    sha256: str
    format: Format = Format.FULL


class WeightStore:
    def __init__(self, root: Path, model_directory: Path, base_name: str, merged: Path) -> None:
        """`base_name` is what the model is served as; `merged` is where merged adapters go, and only they."""
        self._root = root
        self._base = model_directory / WEIGHTS
        self._base_names = {base_name, model_directory.name}
        self._expected = tensor_shapes(self._base)
        self._merged = merged

    def checked(self, announced: Announced) -> Path:
        """The directory to load. Reads the whole file once, so it belongs in a thread."""
        directory = self._inside(announced.path, announced.format.file)
        file = directory / announced.format.file
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != announced.sha256:
            raise FailedPrecondition("DIGEST_MISMATCH", f"{announced.path}/{file.name} has the sha256 {digest}")
        if announced.format is Format.LORA:
            return self._with_adapter(directory, digest)
        self._check_tensors(file, announced.path)
        return directory

    def serves(self, directory: Path) -> None:
        """Merged weights that are served no more are deleted."""
        for merged in self._merged.glob("*") if self._merged.is_dir() else ():
            if merged != directory:
                shutil.rmtree(merged, ignore_errors=True)

    def _with_adapter(self, directory: Path, digest: str) -> Path:
        adapter = checked_adapter(directory, tensor_shapes(directory / ADAPTER), self._expected, self._base_names)
        target = self._merged / digest
        merge(self._base, directory, adapter, target)
        return target

    def current(self) -> Announced | None:
        """What the trainer published last; None where it has published nothing."""
        try:
            text = (self._root / CURRENT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            fields: Any = json.loads(text)
            version = Version(str(fields["run_id"]), int(fields["incarnation"]), int(fields["step"]))
            kind = Format(fields.get("format", Format.FULL))
            return Announced(version, str(fields["path"]), str(fields["sha256"]), kind)
        except (ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition("BAD_MANIFEST", f"{CURRENT} is not a manifest: {error!r}") from error

    def _inside(self, path: str, name: str) -> Path:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path or not parts.parts:
            raise InvalidArgument("path", "a directory relative to the weight store, without ..", "PATH_OUTSIDE_STORE")
        root = self._root.resolve()
        directory = (root / parts).resolve()
        if not directory.is_relative_to(root) or directory == root:
            raise InvalidArgument("path", "leads out of the weight store", "PATH_OUTSIDE_STORE")
        if not directory.is_dir():
            raise NotFound("weights", path)
        file = directory / name
        if not file.is_file():
            raise NotFound("weights file", f"{path}/{name}")
        if not file.resolve().is_relative_to(root):
            raise InvalidArgument("path", f"{name} leads out of the weight store", "PATH_OUTSIDE_STORE")
        foreign = sorted({found.name for pattern in FOREIGN for found in directory.glob(pattern)} - {name})
        if foreign:
            raise InvalidArgument("path", f"holds more than {name}: {', '.join(foreign)}", "FOREIGN_FILES")
        return directory

    def _check_tensors(self, file: Path, path: str) -> None:
        found = tensor_shapes(file)
        for names, what in (
            (self._expected.keys() - found.keys(), "lacks"),
            (found.keys() - self._expected.keys(), "has the unknown"),
        ):
            if names:
                raise _unfit(f"{path} {what} {len(names)} tensors, such as {min(names)}")
        for name, shape in found.items():
            if shape != self._expected[name]:
                raise _unfit(f"{path}: {name} is {list(shape)}, the served model's is {list(self._expected[name])}")


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes from the file's header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            wrong = {name: s.get_dtype() for name, s in slices.items() if s.get_dtype() not in FLOATS}
            shapes = {name: tuple(s.get_shape()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise _unfit(f"{file.name} cannot be read as safetensors: {error}") from error
    if wrong:
        name, dtype = next(iter(wrong.items()))
        raise _unfit(f"{name} is {dtype}, not one of {', '.join(FLOATS)}")
    return shapes


def _unfit(message: str) -> ServiceError:
    return FailedPrecondition("WEIGHTS_DO_NOT_FIT", message)
