"""The pinned packages of each image, out of requirements.lock: `make image-pins` writes k8s/docker/requirements/.

Invariant: a file holds what its image's extras need, transitively, and nothing else; every version is the lock's. The
GPU build of vLLM cannot be installed beside the CPU build, so what it needs is read from gpu.lock, which pip resolved
with requirements.lock as its constraints.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCKER = Path(__file__).resolve().parent
REPOSITORY = DOCKER.parents[1]
OUTPUT = DOCKER / "requirements"
GPU_LOCK = DOCKER / "gpu.lock"


@dataclass(frozen=True)
class Image:
    """Built of the project's own dependencies and these extras; `tools` are requirements of the build alone."""

    extras: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    gpu: bool = False


IMAGES = {
    "gateway": Image(("gateway",)),
    "simulator": Image(("simulator",)),
    "rubric": Image(("rubric",)),
    "inference-cpu": Image(("inference-cpu", "laptop-models")),
    "inference-gpu": Image(("inference-gpu",), gpu=True),
    "trainer": Image(("trainer",)),
    # Not an image: what writes the contracts' code while any of them is built.
    "contracts": Image(tools=("grpcio-tools", "mypy-protobuf", "protovalidate", "protobuf")),
}

# Wanted by a package, left out of the lock on purpose, and missed by nobody who runs here.
LEFT_OUT = {
    "torchvision": "breaks beside the CPU build of torch; text generation runs without",
    "torchaudio": "as torchvision",
    "torchcodec": "as torchvision",
    "llm": "of the model's package only the file is used",
    "llama-cpp-python": "as llm",
    "setuptools": "wanted for builds alone",
    "sentence-transformers": "of the embeddings' package only the file is used",
}


class NotPinned(Exception):
    """A package that is needed has no line in the lock."""


def read_pins(file: Path) -> dict[str, str]:
    """Version by canonical name."""
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def pins_of(image: Image) -> dict[str, str]:
    """What the image installs. Raises NotPinned."""
    lock = read_pins(REPOSITORY / "requirements.lock")
    if not image.gpu:
        return {name: lock[name] for name in closure(roots(image), lock)}
    # What only the CPU has is not there to be asked what it needs.
    gpu = read_pins(GPU_LOCK)
    wanted = [requirement for requirement in roots(image) if requirement.name != "vllm"]
    return {**{name: lock[name] for name in closure(wanted, lock)}, **gpu}


def roots(image: Image) -> list[Requirement]:
    if image.tools:
        return [Requirement(tool) for tool in image.tools]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: Mapping[str, list[str]] = project["optional-dependencies"]
    return [Requirement(text) for text in project["dependencies"]] + list(_of_extras(image.extras, extras))


def _of_extras(names: Iterable[str], extras: Mapping[str, list[str]]) -> Iterator[Requirement]:
    for name in names:
        for requirement in map(Requirement, extras[name]):
            if requirement.name == "anamnesis":
                yield from _of_extras(sorted(requirement.extras), extras)
            else:
                yield requirement


def closure(wanted: Iterable[Requirement], lock: Mapping[str, str]) -> list[str]:
    """Canonical names, sorted: `wanted` and whatever the installed packages say that they need. Raises NotPinned."""
    found: set[str] = set()
    asked: set[tuple[str, frozenset[str]]] = set()
    queue = list(wanted)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in LEFT_OUT and name not in lock:
            continue
        if name not in lock:
            raise NotPinned(f"{requirement} is needed, and requirements.lock has no line for it")
        key = (name, frozenset(requirement.extras))
        if key in asked:
            continue
        asked.add(key)
        found.add(name)
        queue += needs(name, requirement.extras)
    return sorted(found)


def needs(name: str, extras: Iterable[str] = ()) -> list[Requirement]:
    """The requirements of an installed package that hold on this platform."""
    requirements = [Requirement(text) for text in _installed(name).requires or []]
    return [r for r in requirements if r.marker is None or any(_holds(r, extra) for extra in ("", *extras))]


def _holds(requirement: Requirement, extra: str) -> bool:
    assert requirement.marker is not None
    return bool(requirement.marker.evaluate({"extra": extra}))


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise NotPinned(f"{name} is in the lock and not installed: run make setup") from error


def rendered(name: str, image: Image) -> str:
    head = f"# Packages of the image {name}. Written by `make image-pins` out of requirements.lock.\n"
    return head + "".join(f"{package}=={version}\n" for package, version in sorted(pins_of(image).items()))


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    for name, image in IMAGES.items():
        text = rendered(name, image)
        (OUTPUT / f"{name}.txt").write_text(text, encoding="utf-8")
        print(f"  {name}: {text.count('==')} packages")


if __name__ == "__main__":
    main()
