"""What a person sees while the stack starts, and what is read out of a process's log."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from service_kit.local_stack.display import Display
from service_kit.local_stack.logs import last_lines, last_message
from service_kit.local_stack.progress import Phase, ProcessView


def shown(*steps: ProcessView, terminal: bool) -> str:
    output = io.StringIO()
    with Display(Console(file=output, force_terminal=terminal, width=120), "Starting") as display:
        for step in steps:
            display([step])
    return output.getvalue()


def test_without_a_terminal_each_change_is_one_plain_line() -> None:
    starting = ProcessView("engine", Phase.STARTING, 1.0, "loading", 5, 7103)
    text = shown(
        ProcessView("engine", Phase.WAITING),
        starting,
        starting,
        ProcessView("engine", Phase.READY, 23.4, "", 5, 7103),
        terminal=False,
    )
    assert text.splitlines() == ["Starting", "  engine: starting", "  engine: ready after 23.4 s"]


def test_a_terminal_shows_the_state_and_what_each_is_doing() -> None:
    text = shown(ProcessView("engine", Phase.STARTING, 12.0, "loading [weights]", 5, 7103), terminal=True)
    for part in ("engine", "starting", "12", "7103", "loading [weights]"):
        assert part in text


def test_the_last_message_is_the_text_of_a_json_line_or_the_line_itself(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    assert last_message(log) == ""
    log.write_text(json.dumps({"level": "INFO", "message": "ready to serve"}) + "\n\n")
    assert last_message(log) == "ready to serve"
    log.write_text("loading:  10%\rloading: 100%\n\x1b[32m42\x1b[0m\n")
    assert last_message(log) == "42"
    assert last_lines(log, 5) == ["loading: 100%", "42"]


def test_a_librarys_warning_is_not_what_a_process_is_doing(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    for warning in (
        "/x/lib.py:139: FutureWarning: `a` is deprecated\n  wrapper = lookup(vars(value))\n",
        "(EngineCore pid=4131) WARNING 11-29 06:19:41 [torch_utils.py:283] OMP_NUM_THREADS=2 is set\n",
    ):
        log.write_text("ready to serve\n" + warning)
        assert last_message(log) == "ready to serve"
