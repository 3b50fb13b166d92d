"""A checkpoint is one directory that is there whole or not at all: tensors, progress, digests, in one atomic rename.

A directory whose digests do not match is refused, and the one before it is used. Nothing in it is ever unpickled.
The last few stay, and the best by held-out reward.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

logger = logging.getLogger(__name__)

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
HELD_OUT = "held_out"


@dataclass(frozen=True)
class Checkpoint:
    number: int
    path: Path
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class TornCheckpoint(Exception):
    """A file is missing or is not what the manifest says."""


class Checkpoints:
    """The checkpoints of one run, numbered upwards; the last `keep` stay, and the one with the best held-out reward."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep
        directory.mkdir(parents=True, exist_ok=True)

    def next_number(self) -> int:
        return max(self._numbers(), default=0) + 1

    def write(self, tensors: dict[str, torch.Tensor], state: dict[str, Any], held_out: float | None = None) -> Path:
        """`held_out`: the mean held-out reward, where it was measured for exactly these tensors."""
        number = self.next_number()
        temporary = self._directory / f".{number:08d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
        (temporary / STATE).write_text(json.dumps(state), encoding="utf-8")
        manifest: dict[str, Any] = {name: _digest(temporary / name) for name in (TENSORS, STATE)}
        if held_out is not None:
            manifest[HELD_OUT] = held_out
        (temporary / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        for name in (TENSORS, STATE, MANIFEST):
            _sync(temporary / name)
        _sync(temporary)
        final = self._directory / f"{number:08d}"
        temporary.rename(final)
        _sync(self._directory)
        best = self._best()
        for old in sorted(self._numbers())[: -self._keep]:
            if old != best:
                shutil.rmtree(self._directory / f"{old:08d}")
        return final

    def best(self) -> Checkpoint | None:
        """The one with the best held-out reward, the newest of equals; None where none was measured or it is torn."""
        number = self._best()
        if number is None:
            return None
        try:
            return _read(number, self._directory / f"{number:08d}")
        except TornCheckpoint as error:
            logger.error("checkpoint refused", extra={"checkpoint": number, "cause": str(error)})
            return None

    def newest(self) -> Checkpoint | None:
        """The newest one that is whole."""
        for number in sorted(self._numbers(), reverse=True):
            path = self._directory / f"{number:08d}"
            try:
                return _read(number, path)
            except TornCheckpoint as error:
                logger.error("checkpoint refused", extra={"path": str(path), "cause": str(error)})
        return None

    def _best(self) -> int | None:
        rewards: list[tuple[float, int]] = []
        for number in self._numbers():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                manifest = json.loads((self._directory / f"{number:08d}" / MANIFEST).read_text(encoding="utf-8"))
                rewards.append((float(manifest[HELD_OUT]), number))
        return max(rewards)[1] if rewards else None

    def _numbers(self) -> list[int]:
        return [int(path.name) for path in self._directory.iterdir() if path.name.isdigit()]


def _read(number: int, path: Path) -> Checkpoint:
    try:
        digests = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name in (TENSORS, STATE):
            if digests.get(name) != _digest(path / name):
                raise TornCheckpoint(f"{name} does not match its digest")
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        return Checkpoint(number, path, load_file(path / TENSORS), state)
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise TornCheckpoint(str(error)) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
