from __future__ import annotations

from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from gateway.command_line import parse_overrides
from service_kit.cli import build_app

OURS = [
    ["chat"],
    ["demo"],
    ["train"],
    *(["train", name] for name in ("start", "watch", "show", "list", "pause", "resume", "cancel")),
]
OURS += [["keys"], *(["keys", name] for name in ("create", "list", "revoke"))]


@pytest.mark.parametrize("command", OURS, ids=" ".join)
def test_every_help_teaches_by_example(command: list[str]) -> None:
    result = CliRunner().invoke(build_app(), [*command, "--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"anamnesis {' '.join(command)}" in result.output


def test_keys_are_made_listed_and_revoked_and_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_GATEWAY_STATE_DIR", str(tmp_path))
    runner, app = CliRunner(), build_app()
    created = runner.invoke(app, ["keys", "create", "ward-7"])
    assert created.exit_code == 0
    text = created.stdout.strip()  # alone on stdout, so that a script can take it
    key_id = text.split("_")[1]
    listed = runner.invoke(app, ["keys", "list"]).output
    assert key_id in listed
    assert "ward-7" in listed
    assert text not in listed
    assert runner.invoke(app, ["keys", "revoke", key_id]).exit_code == 0
    assert runner.invoke(app, ["keys", "revoke", "00000000"]).exit_code == 1


def test_a_gateway_that_is_not_there_is_one_clear_line() -> None:
    result = CliRunner().invoke(build_app(), ["train", "list", "--target", "127.0.0.1:9"])
    assert result.exit_code == 1
    assert "Is the stack up?" in result.stderr
    assert "Traceback" not in result.output


def test_a_doctor_needs_a_patient() -> None:
    result = CliRunner().invoke(build_app(), ["chat", "--as-doctor"])
    assert result.exit_code == 2
    assert "--case" in result.output


def test_overrides_are_name_and_value() -> None:
    assert parse_overrides(["schedule.steps=4", "a.b = x=y"]) == {"schedule.steps": "4", "a.b": "x=y"}
    for wrong in ("schedule.steps", "=4"):
        with pytest.raises((typer.BadParameter, click.BadParameter)):
            parse_overrides([wrong])
