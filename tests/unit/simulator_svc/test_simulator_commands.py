"""`anamnesis cases` lists, shows and validates; a wrong file ends it with code 1 and the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from simulator_svc.cases.library import BUILT_IN
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


def test_shows_whom_the_cases_cover_and_whom_not(tmp_path: Path) -> None:
    (tmp_path / "gout-toe.toml").write_text((BUILT_IN / "gout-toe.toml").read_text("utf-8"), encoding="utf-8")
    shown = runner.invoke(app, ["cases", "coverage", "--directory", str(tmp_path)])
    assert shown.exit_code == 0
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in shown.output.splitlines()]
    assert ["rheumatology", "-", "-", "-", "0 1", "-", "0 1"] in rows
    assert "female 65+" in shown.output and "1 train" in shown.output
    printed = json.loads(runner.invoke(app, ["cases", "coverage", "--json", "--directory", str(tmp_path)]).output)
    assert printed["specialties"]["rheumatology"]["40-64"] == {"female": 0, "male": 1, "unknown": 0}


def test_draws_a_balanced_set_of_patients_and_personas() -> None:
    printed = runner.invoke(app, ["cases", "personas", "--draws", "16", "--seed", "2"])
    rows = [json.loads(line) for line in printed.output.splitlines()]
    assert len({row["case_id"] for row in rows}) == len({row["persona"]["personality"] for row in rows}) == 16
    assert runner.invoke(app, ["cases", "personas", "--draws", "16", "--seed", "2"]).output == printed.output


def test_a_wrong_file_ends_with_code_1_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('case_id = "x"\n', encoding="utf-8")
    result = runner.invoke(app, ["cases", "validate", "--directory", str(tmp_path)])
    assert result.exit_code == 1 and "wrong.toml" in result.output


def test_the_library_standard_is_demanded_of_other_cases_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "gout-toe.toml").write_text((BUILT_IN / "gout-toe.toml").read_text("utf-8"), encoding="utf-8")
    arguments = ["cases", "validate", "--directory", str(tmp_path)]
    assert runner.invoke(app, arguments).exit_code == 0
    result = runner.invoke(app, [*arguments, "--standard"])
    assert result.exit_code == 1 and "the library has 1 cases" in result.output


def test_imports_cases_and_says_what_was_removed_and_refused(tmp_path: Path) -> None:
    actor = {"Demographics": "40-year-old man", "History": "Dr. Kumar saw him. He has had fever for 3 days."}
    record = {"OSCE_Examination": {"Patient_Actor": actor, "Correct_Diagnosis": "Influenza"}}
    source, out = tmp_path / "osce.jsonl", tmp_path / "cases"
    source.write_text(json.dumps(record) + "\n{", encoding="utf-8")
    arguments = ["cases", "import", str(source), "--format", "osce", "--out", str(out)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0 and "1 cases written" in result.output
    assert "refused: line 2: is not JSON" in result.output and "Kumar" not in result.output
    assert runner.invoke(app, ["cases", "validate", "-d", str(out)]).exit_code == 0
    again = runner.invoke(app, arguments)
    assert again.exit_code == 1 and "holds case files already" in again.output


def test_the_import_report_as_json_lists_every_refusal_and_nothing_imported_ends_with_code_1(tmp_path: Path) -> None:
    source = tmp_path / "osce.jsonl"
    source.write_text("{\n[]\n", encoding="utf-8")
    arguments = ["cases", "import", str(source), "-f", "osce", "-o", str(tmp_path / "cases"), "--json"]
    result = runner.invoke(app, arguments)
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and report["imported"] == 0
    assert [row["position"] for row in report["refused"]] == ["line 1", "line 2"]
