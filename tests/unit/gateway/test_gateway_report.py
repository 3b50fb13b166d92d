from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.demo import Stages, conclude, fresh_demo_state, stopped_afterwards
from gateway.figures import demo_figures, figures_line
from gateway.ledger import ledger_gaps
from gateway.report import print_report
from gateway.watch import RunView, duration, plain_line, sparkline

FIGURES = [
    "heldout_before",
    "heldout_after",
    "heldout_diff_se",
    "heldout_n",
    "untrained_before",
    "untrained_after",
    "steps",
    "train_requests",
    "trained",
    "dropped",
    "trace_episodes",
]


def finished_run() -> trainer_pb2.Run:
    def said(doctor: str) -> dialogue_pb2.Dialogue:
        return dialogue_pb2.Dialogue(
            messages=[
                dialogue_pb2.Message(role=dialogue_pb2.ROLE_SYSTEM, content="secret instructions"),
                dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="My knee [left] hurts."),
                dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=doctor),
            ]
        )

    return trainer_pb2.Run(
        run_id="r1",
        spec=trainer_pb2.RunSpec(preset="demo", seed=3),
        state=trainer_pb2.RUN_STATE_SUCCEEDED,
        step=12,
        total_steps=12,
        ledger=[
            trainer_pb2.LedgerAccount(
                purpose=rollout_pb2.PURPOSE_TRAIN, published=100, trained=90, dropped={"stale": 6, "repeated_turn": 4}
            ),
            trainer_pb2.LedgerAccount(
                purpose=rollout_pb2.PURPOSE_EVALUATE, published=48, used=47, dropped={"expired": 1}
            ),
        ],
        held_out=trainer_pb2.HeldOut(
            mean_before=0.2,
            mean_after=0.35,
            diff_standard_error=0.05,
            count=24,
            untrained_before=-2.0,
            untrained_after=-2.1,
        ),
        plot_paths=["/runs/r1/learning.png"],
        checkpoint_path="/runs/r1/checkpoint",
        example_before=said("Hello."),
        example_after=said("When did it begin?"),
        traced_episodes=90,
    )


def printed(run: trainer_pb2.Run, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_report(run, console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_figures_line_is_json_with_exactly_the_promised_names() -> None:
    prefix, _, text = figures_line(finished_run()).partition(": ")
    assert prefix == "figures"
    figures = json.loads(text)
    assert list(figures) == FIGURES
    assert figures["dropped"] == 10
    assert figures["train_requests"] == 100
    assert figures["heldout_after"] == 0.35
    assert figures["heldout_n"] == 24


def test_a_run_that_measured_nothing_has_nulls_and_still_valid_json() -> None:
    run = trainer_pb2.Run(run_id="r1")
    assert demo_figures(run)["heldout_before"] is None
    run.held_out.mean_before = float("nan")
    assert json.loads(figures_line(run).removeprefix("figures: "))["heldout_before"] is None


def test_a_ledger_without_a_gap_has_none() -> None:
    assert ledger_gaps(finished_run()) == []


@pytest.mark.parametrize(
    ("published", "trained", "outstanding"),
    [(101, 90, 0), (100, 89, 0), (101, 90, 1)],
    ids=["one missing", "one too few trained", "one outstanding at the end"],
)
def test_a_request_without_its_place_is_a_gap(published: int, trained: int, outstanding: int) -> None:
    run = finished_run()
    account = run.ledger[0]
    account.published, account.trained, account.outstanding = published, trained, outstanding
    assert len(ledger_gaps(run)) == 1
    assert "gap" in printed(run)


def test_training_on_an_evaluation_request_is_a_gap() -> None:
    run = finished_run()
    run.ledger[1].trained, run.ledger[1].used = 47, 0
    assert "only train requests" in ledger_gaps(run)[0]


def test_the_report_says_the_difference_with_its_error_and_where_things_are() -> None:
    text = printed(finished_run())
    for part in (
        "n = 24",
        "+0.150",
        "+3.0 SE",
        "0.050",
        "-0.100",
        "stale 6",
        "/runs/r1/learning.png",
        "/runs/r1/checkpoint",
    ):
        assert part in text
    assert "The ledger adds up" in text


def test_the_consultation_stands_side_by_side_without_the_instructions() -> None:
    text = printed(finished_run())
    line = next(line for line in text.splitlines() if "Hello." in line)
    assert "When did it begin?" in line
    assert "My knee [left] hurts." in text  # brackets are words here, not markup
    assert "secret" not in text


def test_a_failed_run_says_why() -> None:
    run = trainer_pb2.Run(run_id="r1", state=trainer_pb2.RUN_STATE_FAILED, error="no [memory] left")
    assert "no [memory] left" in printed(run)


def test_every_kind_of_event_has_a_plain_line_and_fits_the_table() -> None:
    events = [
        trainer_pb2.RunEvent(sequence=1, state=trainer_pb2.RUN_STATE_RUNNING),
        trainer_pb2.RunEvent(sequence=2, progress=trainer_pb2.Progress(phase="evaluating_before", done=3, total=24)),
        trainer_pb2.RunEvent(sequence=3, step=trainer_pb2.StepMetrics(step=1, reward_mean=0.25, tokens_per_second=31)),
        trainer_pb2.RunEvent(sequence=4, notice="weights [v1] are served"),
        trainer_pb2.RunEvent(sequence=5, held_out=trainer_pb2.HeldOutReward(step=2, mean=0.125, count=24)),
        trainer_pb2.RunEvent(sequence=6),
    ]
    view = RunView(trainer_pb2.Run(run_id="r1", total_steps=12))
    lines = []
    for event in events:
        view.take(event)
        lines.append(plain_line(event))
    assert lines[0].endswith("running")
    assert lines[1].endswith("evaluating before 3/24")
    assert "reward +0.250" in lines[2]
    assert "31.0 tokens/s" in lines[2]
    assert lines[3].endswith("weights [v1] are served")
    assert lines[4].endswith("held out at step 2: reward +0.125 (n = 24)")
    assert lines[5] == ""
    console = Console(file=io.StringIO(), width=140)
    console.print(view.render())
    assert isinstance(console.file, io.StringIO)
    table = console.file.getvalue()
    for part in ("r1", "running", "evaluating before", "3/24", "+0.250", "weights [v1] are served", "1/12", "+0.125"):
        assert part in table


def test_training_goes_on_in_the_table_after_an_evaluation_on_its_way() -> None:
    view = RunView(trainer_pb2.Run(run_id="r1", total_steps=4))
    for phase, done in (("training", 0), ("training", 2), ("evaluating", 0), ("evaluating", 3), ("training", 2)):
        view.take(trainer_pb2.RunEvent(progress=trainer_pb2.Progress(phase=phase, done=done, total=4)))
    training, evaluating = view._progress.tasks
    assert training.stop_time is None and evaluating.stop_time is not None


def test_small_words_for_numbers() -> None:
    assert sparkline([0, 1, 2]) == "▁▅█"
    assert sparkline([5.0]) == "▁"
    assert sparkline([]) == ""
    assert [duration(seconds) for seconds in (-1, 61, 3723)] == ["0:00", "1:01", "1:02:03"]


class RecordedStack:
    """Notes whether it was stopped."""

    state_dir = Path("/state")
    running = ("broker",)

    def __init__(self) -> None:
        self.stops = 0

    def log(self, name: str) -> Path:
        return self.state_dir / name

    def stop(self, progress: object) -> list[str]:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "an impatient Ctrl-C must not leave half a stack"
        self.stops += 1
        return []


@pytest.mark.parametrize("keep_up", [True, False])
@pytest.mark.parametrize("failure", [None, KeyboardInterrupt, ValueError])
def test_the_stack_stays_only_if_it_is_to_and_nothing_failed(
    keep_up: bool, failure: type[BaseException] | None
) -> None:
    stack: Any = RecordedStack()
    console = Console(file=io.StringIO())
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        with stopped_afterwards(stack, Stages(console), console, keep_up=keep_up):
            if failure is not None:
                raise failure
    except (KeyboardInterrupt, ValueError):
        assert failure is not None
    assert stack.stops == (0 if keep_up and failure is None else 1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


@pytest.mark.parametrize(
    ("state", "published", "code"),
    [
        (trainer_pb2.RUN_STATE_SUCCEEDED, 100, 0),
        (trainer_pb2.RUN_STATE_SUCCEEDED, 101, 1),
        (trainer_pb2.RUN_STATE_FAILED, 100, 1),
        (trainer_pb2.RUN_STATE_INTERRUPTED, 100, 1),
    ],
)
def test_the_exit_code_is_0_only_for_success_with_a_whole_ledger_and_the_last_line_is_the_figures(
    state: trainer_pb2.RunState.ValueType, published: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run()
    run.state = state
    run.ledger[0].published = published
    console, stack = Console(width=60), RecordedStack()
    assert conclude(run, stack, console, Stages(console)) == code  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines()[-1] == figures_line(run)


def test_a_demo_starts_empty_but_for_the_models_and_caches(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_text("w")
    first = fresh_demo_state(tmp_path)
    (first / "broker").mkdir()
    (first / "vllm-cache" / "compiled").write_text("c")
    second = fresh_demo_state(tmp_path)
    assert sorted(path.name for path in second.iterdir()) == ["models", "vllm-cache"]
    assert (tmp_path / "models" / "weights").read_text() == "w"
    assert (second / "vllm-cache" / "compiled").read_text() == "c"
