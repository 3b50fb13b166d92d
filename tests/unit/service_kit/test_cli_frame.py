"""The command line's frame: quick, whole with any subset of the services, and clear when something fails."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import pytest
import typer

from service_kit import cli
from service_kit.errors import ServiceError, Unavailable

HEAVY = ("torch", "vllm", "transformers", "trl", "numpy", "pandas")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["anamnesis", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def mount(monkeypatch: pytest.MonkeyPatch, package: str, register: Callable[[typer.Typer], None]) -> None:
    module = types.ModuleType(f"{package}.commands")
    module.register = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"{package}.commands", module)


def failing_with(error: Exception) -> Callable[[typer.Typer], None]:
    def register(app: typer.Typer) -> None:
        @app.command("fail")
        def fail() -> None:
            raise error

    return register


def test_help_imports_nothing_heavy_and_names_the_stack_commands() -> None:
    script = (
        "import sys; sys.argv = ['anamnesis', '--help']\n"
        "from service_kit.cli import main\n"
        "try: main()\n"
        f"finally: print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "heavy: []" in ended.stdout
    for command in ("up", "down", "status", "version"):
        assert f" {command} " in ended.stdout


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "version") == 0
    assert capsys.readouterr().out.startswith("anamnesis 0.")


def test_an_expected_failure_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mount(monkeypatch, "gateway", failing_with(Unavailable("trainer", "does not answer at [localhost]:7105")))
    assert run(monkeypatch, "fail") == 1
    error = capsys.readouterr().err
    assert "error: trainer: does not answer at [localhost]:7105\n" in error
    assert "Traceback" not in error


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, "gateway", failing_with(ZeroDivisionError("a bug")))
    monkeypatch.setattr(sys, "argv", ["anamnesis", "fail"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "EXTRAS", {"no_such_svc": "no-such"})
    assert run(monkeypatch, "version") == 0


def test_a_missing_dependency_costs_only_its_own_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("packages")
    (place / "lame_svc").mkdir()
    (place / "lame_svc" / "commands.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(cli, "EXTRAS", {"lame_svc": "lame"})
    assert run(monkeypatch, "version") == 0
    assert run(monkeypatch, "lame") == 1
    assert "a_library_that_nobody_has is not installed; run: pip install 'anamnesis[lame]'" in capsys.readouterr().err


def test_a_dependency_missed_while_a_command_runs_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("packages")
    (place / "late_svc").mkdir()
    (place / "late_svc" / "commands.py").write_text(
        "def register(app):\n    app.command('work')(work)\n\n\ndef work():\n    import a_library_that_nobody_has\n"
    )
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(cli, "EXTRAS", {"late_svc": "late"})
    assert run(monkeypatch, "work") == 1
    assert "pip install 'anamnesis[late]'" in capsys.readouterr().err


def test_every_error_of_the_kind_is_caught_at_the_edge() -> None:
    assert issubclass(Unavailable, ServiceError)
