"""`anamnesis evaluate` with supplied verdicts needs no model and no stack, and prints JSON."""

import json
from pathlib import Path

from typer.testing import CliRunner

from service_kit.cli import build_app
from service_kit.errors import InvalidArgument

ITEM = {
    "prompt_id": "p",
    "prompt": [{"role": "user", "content": "Hi"}],
    "example_tags": ["theme:x"],
    "rubrics": [{"criterion": "Greets.", "points": 5, "tags": ["axis:a"]}],
}


def _files(tmp_path: Path, verdict: object) -> list[str]:
    data, verdicts = tmp_path / "items.jsonl", tmp_path / "verdicts.jsonl"
    data.write_text(json.dumps(ITEM) + "\n", encoding="utf-8")
    row = {"prompt_id": "p", "criterion_index": 0, "verdict": verdict}
    verdicts.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return [str(data), "--verdicts", str(verdicts)]


def test_scores_go_to_stdout_as_json_with_or_without_the_benchmarks_name(tmp_path: Path) -> None:
    arguments = _files(tmp_path, "met")
    for command in (["evaluate", *arguments], ["evaluate", "healthbench", *arguments]):
        result = CliRunner().invoke(build_app(), command)
        assert result.exit_code == 0, result.output
        scores = json.loads(result.stdout)
        assert scores["score"] == {"mean": 1.0, "standard_error": 0.0, "n": 1}
        assert scores["by_example"] == [{"prompt_id": "p", "score": 1.0, "by_tag": {"theme:x": 1.0, "axis:a": 1.0}}]


def test_a_wrong_verdict_is_one_error_with_its_place(tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["evaluate", *_files(tmp_path, "perhaps")])
    assert isinstance(result.exception, InvalidArgument)
    assert "verdicts.jsonl:1: verdict: 'perhaps'" in str(result.exception)


def test_kept_evaluations_can_be_compared(tmp_path: Path) -> None:
    for name, verdict in (("a", "not_met"), ("b", "met")):
        (tmp_path / name).mkdir()
        arguments = [*_files(tmp_path / name, verdict), "--out", str(tmp_path / name / "kept")]
        assert CliRunner().invoke(build_app(), ["evaluate", *arguments]).exit_code == 0
    result = CliRunner().invoke(
        build_app(), ["evaluate", "compare", str(tmp_path / "a" / "kept"), str(tmp_path / "b" / "kept")]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["difference"] == 1.0
    assert (tmp_path / "a" / "kept" / "report.html").exists()
