"""The supervisor with tiny processes: what starts is ready or named, and what stops leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from service_kit.local_stack import LocalStack, Phase, ProcessView, StackError
from service_kit.local_stack.definition import ProcessDefinition, Requirement, StackDefinition
from service_kit.local_stack.process import boot_id

TINY = Path(__file__).with_name("tiny_process.py")
SERVICE = "tiny.v1.TinyService"
MakeStack = Callable[..., LocalStack]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tiny(name: str, *behaviours: str, depends_on: tuple[str, ...] = (), **more: object) -> ProcessDefinition:
    return ProcessDefinition.model_validate(
        {
            "name": name,
            "command": ["{python}", str(TINY), f"{{port[{name}]}}", *behaviours],
            "ports": {name: free_port()},
            "ready": SERVICE,
            "depends_on": depends_on,
            "ready_seconds": 30,
            "drain_seconds": 5,
            **more,
        }
    )


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    made: list[LocalStack] = []

    def make(*processes: ProcessDefinition, **more: object) -> LocalStack:
        definition = StackDefinition(process=processes, requires=more.pop("requires", ()))
        made.append(LocalStack(tmp_path / "state", definition=definition, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for stack in made:
        stack.stop()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def child_of(stack: LocalStack, name: str) -> int:
    for line in stack.log(name).read_text().splitlines():
        message = json.loads(line)["message"]
        if message.startswith("child "):
            return int(message.removeprefix("child "))
    raise AssertionError(f"{name} told of no child")


def pid_of(stack: LocalStack, name: str) -> int:
    pid = next(view.pid for view in stack.views() if view.name == name)
    assert pid is not None
    return pid


def test_each_starts_after_those_it_depends_on_are_ready(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("first"), tiny("second", depends_on=("first",)))
    seen: list[dict[str, ProcessView]] = []
    stack.start(lambda views: seen.append({view.name: view for view in views}))
    assert {view.phase for view in seen[-1].values()} == {Phase.READY}
    for views in seen:
        if views["second"].phase is Phase.WAITING:
            assert views["second"].doing in ("waits for first", "")
        else:
            assert views["first"].phase is Phase.READY
    assert stack.stop() == []


def test_one_that_only_answers_does_not_wait_and_still_stops_first(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("slow", "never", ready_seconds=60), tiny("quick", depends_on=("slow",), waits=False))
    phases: list[tuple[Phase, ...]] = []

    class EnoughSeen(Exception):
        pass

    def watch(views: Sequence[ProcessView]) -> None:
        phases.append(tuple(view.phase for view in views))
        if phases[-1] == (Phase.STARTING, Phase.READY):
            raise EnoughSeen

    with pytest.raises(EnoughSeen):
        stack.start(watch)
    stopping = [pair for pair in phases if Phase.STOPPING in pair]
    assert all(pair[1] is Phase.STOPPED for pair in stopping if pair[0] is Phase.STOPPING)


def test_those_that_do_not_depend_on_each_other_stop_together(make_stack: MakeStack) -> None:
    bound = 4
    stack = make_stack(tiny("one", "deaf", drain_seconds=bound), tiny("two", "deaf", drain_seconds=bound))
    stack.start()
    began = time.monotonic()
    assert stack.stop() == ["one", "two"]
    assert time.monotonic() - began < 2 * bound


def test_a_process_that_dies_at_start_is_named_with_its_code_and_last_lines_and_the_rest_is_stopped(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(tiny("well"), tiny("sick", "die"))
    with pytest.raises(StackError) as raised:
        stack.start()
    assert raised.value.reason == "PROCESS_DIED"
    lines = raised.value.message.splitlines()
    assert "sick ended with exit code 7" in lines[0]
    assert [line.strip() for line in lines[1:]] == [f"line {number}" for number in range(25, 40)]
    assert stack.running == ()


def test_a_process_that_is_never_ready_is_named_and_stopped(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("slow", "never", ready_seconds=2))
    with pytest.raises(StackError, match=r"slow is not ready after 2 s(.|\n)*still loading"):
        stack.start()
    assert stack.running == ()


def test_a_command_that_does_not_exist_is_named(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("ghost").model_copy(update={"command": ("/nowhere/ghost",)}))
    with pytest.raises(StackError, match=r"ghost cannot be started: .*No such file"):
        stack.start()


def test_a_taken_port_is_named_and_nothing_starts(make_stack: MakeStack) -> None:
    definition = tiny("blocked")
    port = definition.ports["blocked"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        stack = make_stack(tiny("free"), definition)
        with pytest.raises(StackError, match=f"port {port}, which blocked needs, is taken"):
            stack.start()
    assert not stack.log("free").exists()


def test_a_missing_file_is_named_with_the_command_that_makes_it(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("any"), requires=(Requirement(path="models/m", made_by="make model"),))
    with pytest.raises(StackError, match="models/m is missing: run `make model`"):
        stack.start()


def test_what_is_left_out_is_started_later_and_one_is_stopped_alone(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("old"), tiny("surge"))
    stack.start(leave_out=["surge"])
    # As lists: mypy takes a tuple's length, once compared, to stay.
    assert list(stack.running) == ["old"]
    stack.restart("surge")
    assert list(stack.running) == ["old", "surge"]
    pid = pid_of(stack, "old")
    stack.stop_one("old")
    assert not lives(pid)
    assert list(stack.running) == ["surge"]


def test_one_that_has_to_be_killed_is_told(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("deaf", "deaf", drain_seconds=1))
    stack.start()
    with pytest.raises(StackError, match="deaf did not stop within its bound"):
        stack.stop_one("deaf")


def test_a_process_that_ignores_sigterm_is_killed_after_its_bound_and_reported(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("polite"), tiny("deaf", "deaf", drain_seconds=1))
    stack.start()
    pid = pid_of(stack, "deaf")
    assert stack.stop() == ["deaf"]
    assert not lives(pid)


def test_children_that_ignore_sigterm_do_not_survive_a_stop(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("parent", "child"))
    stack.start()
    child = child_of(stack, "parent")
    assert lives(child)
    stack.stop()
    assert not lives(child)


def test_a_killed_process_takes_its_children_and_can_be_started_again(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("parent", "child"), tiny("other"))
    stack.start()
    before, other, child = pid_of(stack, "parent"), pid_of(stack, "other"), child_of(stack, "parent")
    stack.kill("parent")
    assert not lives(before) and not lives(child)
    stack.restart("parent")
    assert pid_of(stack, "parent") != before
    assert pid_of(stack, "other") == other


def test_a_signal_other_than_kill_reaches_the_process_alone(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("one"))
    stack.start()
    stack.kill("one", signal.SIGTERM)
    with pytest.raises(StackError, match="one ended with exit code 0"):
        while True:
            stack.check()
            time.sleep(0.05)


def test_a_death_after_the_start_is_seen(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("frail", "dies-later"))
    stack.start()
    with pytest.raises(StackError, match="frail ended with exit code 3"):
        for _ in range(100):
            stack.check()
            time.sleep(0.1)
    assert [view.phase for view in stack.look()] == [Phase.FAILED]


def test_starting_twice_changes_nothing(make_stack: MakeStack) -> None:
    processes = (tiny("one"), tiny("two"))
    first = make_stack(*processes)
    first.start()
    pids = [view.pid for view in first.views()]
    second = make_stack(*processes)
    second.start()
    assert [view.pid for view in second.views()] == pids
    second.stop()
    assert not any(lives(pid) for pid in pids if pid is not None)


def test_starting_again_starts_what_has_died_and_ends_what_it_left_behind(make_stack: MakeStack) -> None:
    processes = (tiny("one"), tiny("parent", "child"))
    first = make_stack(*processes)
    first.start()
    one, parent, child = pid_of(first, "one"), pid_of(first, "parent"), child_of(first, "parent")
    os.kill(parent, signal.SIGKILL)
    second = make_stack(*processes)
    second.start()
    assert pid_of(second, "one") == one
    assert pid_of(second, "parent") != parent
    assert not lives(child)


def test_a_failed_second_start_leaves_alone_what_ran_before(make_stack: MakeStack) -> None:
    healthy = tiny("healthy")
    first = make_stack(healthy)
    first.start()
    second = make_stack(healthy, tiny("sick", "die"))
    with pytest.raises(StackError, match="sick ended"):
        second.start()
    assert lives(pid_of(first, "healthy"))
    assert second.running == ("healthy",)


@pytest.mark.parametrize(
    "record",
    [
        "not json",
        "[]",
        json.dumps({"port_offset": 0, "boot_id": "another", "processes": {"one": {"pid": 1, "start_time": 0}}}),
        json.dumps({"port_offset": 0, "boot_id": boot_id(), "processes": {"one": {"pid": 2**22, "start_time": 5}}}),
        # A process id that has been given to someone else since.
        json.dumps(
            {"port_offset": 0, "boot_id": boot_id(), "processes": {"one": {"pid": os.getpid(), "start_time": 1}}}
        ),
    ],
    ids=["damaged", "no record", "before the machine restarted", "gone", "id reused"],
)
def test_a_stale_record_counts_for_nothing(make_stack: MakeStack, tmp_path: Path, record: str) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (state_dir / "stack.json").write_text(record)
    definition = StackDefinition(process=(tiny("one"),))
    assert LocalStack.recorded(state_dir, definition).running == ()
    stack = make_stack(*definition.process)
    stack.start()
    assert lives(pid_of(stack, "one"))


def test_a_stack_on_other_ports_in_the_same_directory_is_not_touched(make_stack: MakeStack) -> None:
    process = tiny("one")
    first = make_stack(process)
    first.start()
    with pytest.raises(StackError, match="runs with port offset 0, not 1"):
        make_stack(process, port_offset=1).start()
    assert lives(pid_of(first, "one"))


def test_a_process_gets_its_overrides(make_stack: MakeStack) -> None:
    stack = make_stack(tiny("one"), tiny("two"), env_overrides={"one": {"TINY_TOKEN": "given"}})
    stack.start()
    assert "token is given" in stack.log("one").read_text()
    assert "token is unset" in stack.log("two").read_text()
