"""`anamnesis cases` lists, shows and validates; a wrong file ends it with code 1 and the file's name."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner

from simulator_svc.commands import register

app = typer.Typer()
register(app)
app.command("other")(lambda: None)
runner = CliRunner(env={"COLUMNS": "200"})


def test_lists_and_shows_cases() -> None:
    assert "renal-colic" in runner.invoke(app, ["cases", "list"]).output
    shown = runner.invoke(app, ["cases", "show", "gout-toe"])
    assert shown.exit_code == 0 and "hydrochlorothiazide" in shown.output.lower()
    assert runner.invoke(app, ["cases", "show", "nobody"]).exit_code == 2


def test_validates_and_prints_what_is_covered() -> None:
    result = runner.invoke(app, ["cases", "validate"])
    assert result.exit_code == 0
    assert "cases valid" in result.output and "red_flag" in result.output


def test_a_wrong_file_ends_with_code_1_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('case_id = "x"\n', encoding="utf-8")
    result = runner.invoke(app, ["cases", "validate", "--directory", str(tmp_path)])
    assert result.exit_code == 1 and "wrong.toml" in result.output
