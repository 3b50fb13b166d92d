"""`make observe` says why the trace UI does not run, and leaves nothing behind."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from k8s.observe import __main__ as observe
from k8s.observe.__main__ import UiError, trace_ui

HERE = Path(observe.__file__).parent


def program(directory: Path, text: str) -> Path:
    path = directory / "phoenix"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UI_PORT", "OTLP_PORT"):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            monkeypatch.setattr(observe, name, listener.getsockname()[1])


def test_a_ui_that_ends_is_said_at_once_with_its_log(tmp_path: Path, free_ports: None) -> None:
    with pytest.raises(UiError, match=r"ui\.log"), trace_ui(program(tmp_path, "echo broken; exit 3"), tmp_path):
        pytest.fail("it does not run")
    assert (tmp_path / "traces" / "ui.log").read_text(encoding="utf-8") == "broken\n"


def test_a_taken_port_is_named(tmp_path: Path, free_ports: None) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", observe.UI_PORT))
        listener.listen()
        with pytest.raises(UiError, match=str(observe.UI_PORT)), trace_ui(program(tmp_path, "sleep 60"), tmp_path):
            pytest.fail("it does not run")


def test_what_the_ui_needs_is_pinned() -> None:
    wanted = re.findall(r"^([a-z-]+==\S+)$", (HERE / "requirements.txt").read_text(encoding="utf-8"), re.M)
    pinned = (HERE / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert wanted and set(wanted) <= set(pinned)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^=]+", line) for line in pinned)
