"""What may be loaded and what is refused before anything changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inference_svc.weights.store import Announced, Format, WeightStore
from inference_svc.weights.versions import Version
from service_kit.errors import FailedPrecondition, InvalidArgument, NotFound

SHAPES = {"a.weight": (4, 3), "b.weight": (2,)}
ONE = Version("run", 0, 1)


def tensors(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.ones(shape, np.float32) for name, shape in (SHAPES | shapes).items()}


def write(directory: Path, content: dict[str, np.ndarray]) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(content, directory / "model.safetensors")
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def store(tmp_path: Path, root: Path) -> WeightStore:
    write(tmp_path / "model", tensors())
    root.mkdir()
    return WeightStore(root, tmp_path / "model", "served", tmp_path / "merged")


def test_a_fitting_directory_is_accepted(store: WeightStore, root: Path) -> None:
    digest = write(root / "run/0-1", tensors())
    assert store.checked(Announced(ONE, "run/0-1", digest)) == (root / "run/0-1").resolve()


@pytest.mark.parametrize("path", ["../model", "/etc", "run/../../model", ".", "run\\..\\x", "a\0b", "run/.."])
def test_a_path_that_leads_out_is_refused(store: WeightStore, root: Path, path: str) -> None:
    (root / "run").mkdir()
    with pytest.raises(InvalidArgument) as refused:
        store.checked(Announced(ONE, path, "0" * 64))
    assert refused.value.reason == "PATH_OUTSIDE_STORE"
    assert refused.value.violations[0].field == "path"


def test_a_link_out_of_the_store_is_refused(store: WeightStore, root: Path, tmp_path: Path) -> None:
    digest = write(tmp_path / "elsewhere", tensors())
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "run").mkdir()
    (root / "run" / "model.safetensors").symlink_to(tmp_path / "elsewhere" / "model.safetensors")
    for path in ("link", "run"):
        with pytest.raises(InvalidArgument, match="out of the weight store"):
            store.checked(Announced(ONE, path, digest))


def test_what_is_not_there_is_not_found(store: WeightStore, root: Path) -> None:
    (root / "empty").mkdir()
    for path in ("nothing", "empty"):
        with pytest.raises(NotFound):
            store.checked(Announced(ONE, path, "0" * 64))


def test_a_wrong_digest_is_refused(store: WeightStore, root: Path) -> None:
    write(root / "run", tensors())
    with pytest.raises(FailedPrecondition) as refused:
        store.checked(Announced(ONE, "run", "0" * 64))
    assert refused.value.reason == "DIGEST_MISMATCH"


@pytest.mark.parametrize("foreign", ["pytorch_model.bin", "other.safetensors", "model.safetensors.index.json"])
def test_files_that_were_not_checked_are_refused(store: WeightStore, root: Path, foreign: str) -> None:
    digest = write(root / "run", tensors())
    (root / "run" / foreign).write_bytes(b"x")
    with pytest.raises(InvalidArgument, match=foreign):
        store.checked(Announced(ONE, "run", digest))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a.weight": np.ones((4, 3), np.float32)}, "lacks"),
        (tensors(**{"c.weight": (1,)}), "unknown"),
        (tensors(**{"a.weight": (3, 4)}), "a.weight"),
        (tensors() | {"b.weight": np.ones(2, np.int64)}, "I64"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    store: WeightStore, root: Path, content: dict[str, np.ndarray], says: str
) -> None:
    digest = write(root / "run", content)
    with pytest.raises(FailedPrecondition, match=says) as refused:
        store.checked(Announced(ONE, "run", digest))
    assert refused.value.reason == "WEIGHTS_DO_NOT_FIT"


def test_a_file_that_is_no_safetensors_is_refused(store: WeightStore, root: Path) -> None:
    (root / "run").mkdir()
    (root / "run" / "model.safetensors").write_bytes(b"not at all")
    digest = hashlib.sha256(b"not at all").hexdigest()
    with pytest.raises(FailedPrecondition, match="safetensors"):
        store.checked(Announced(ONE, "run", digest))


def test_the_manifest_is_read_and_a_broken_one_is_named(store: WeightStore, root: Path) -> None:
    assert store.current() is None
    fields = {"run_id": "r", "incarnation": 2, "step": 7, "path": "r/2-7", "sha256": "0" * 64}
    (root / "CURRENT.json").write_text(json.dumps(fields))
    assert store.current() == Announced(Version("r", 2, 7), "r/2-7", "0" * 64)
    (root / "CURRENT.json").write_text(json.dumps(fields | {"format": "SAFETENSORS_LORA"}))
    assert store.current() == Announced(Version("r", 2, 7), "r/2-7", "0" * 64, Format.LORA)
    for broken in (
        json.dumps(fields | {"format": "x"}),
        "{",
        "[]",
        '{"run_id": "r"}',
        '{"run_id": "r", "incarnation": "x", "step": 1}',
    ):
        (root / "CURRENT.json").write_text(broken)
        with pytest.raises(FailedPrecondition):
            store.current()
