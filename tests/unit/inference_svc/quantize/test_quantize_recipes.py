"""Recipes that a machine cannot serve are refused by name, before any work."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inference_svc.quantize.recipes import Machine, ModelShape, Recipe, Refused, refuse_unserved
from service_kit.cli import build_app

SHAPE = ModelShape(hidden=576, intermediate=1536)
LAPTOP = Machine(cuda=False, architecture="x86_64")
ADA = Machine(cuda=True, architecture="x86_64", capability=(8, 9))


@pytest.mark.parametrize(
    ("recipe", "machine", "reason"),
    [
        (Recipe.W4A8, LAPTOP, "w4a8: vLLM's CPU engine"),
        (Recipe.W4A8, ADA, "w4a8: vLLM has no CUDA kernel"),
        (Recipe.W8A8, Machine(cuda=True, architecture="x86_64", capability=(7, 0)), "w8a8: .* 7.0"),
    ],
)
def test_a_recipe_without_a_kernel_is_refused_by_name(recipe: Recipe, machine: Machine, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        refuse_unserved(recipe, machine, SHAPE)


@pytest.mark.parametrize(
    ("recipe", "machine"),
    [
        (Recipe.W8A8, LAPTOP),
        (Recipe.W4A16, LAPTOP),
        (Recipe.W4A16, ADA),
        (Recipe.W4A8, Machine(cuda=False, architecture="aarch64")),
    ],
)
def test_a_recipe_with_a_kernel_is_not_refused(recipe: Recipe, machine: Machine) -> None:
    refuse_unserved(recipe, machine, SHAPE)


def test_sizes_that_no_group_divides_are_refused() -> None:
    with pytest.raises(Refused, match="intermediate size 1000"):
        refuse_unserved(Recipe.W4A16, LAPTOP, ModelShape(576, 1000))
    refuse_unserved(Recipe.W8A8, LAPTOP, ModelShape(576, 1000))


def test_the_command_refuses_before_it_looks_for_tools_or_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_svc.quantize.run.this_machine", lambda: LAPTOP)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"hidden_size": 576, "intermediate_size": 1536}))
    result = CliRunner().invoke(
        build_app(),
        ["quantize", "w4a8", "--model", str(tmp_path / "model"), "--environment", str(tmp_path / "none")],
    )
    assert result.exit_code == 1
    assert "w4a8: vLLM's CPU engine" in result.output
    assert not (tmp_path / "model-w4a8").exists()
