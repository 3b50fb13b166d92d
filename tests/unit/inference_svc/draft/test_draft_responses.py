"""The answers' file: it goes on after an interruption."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_svc.draft.prompts import Prompt
from inference_svc.draft.responses import Response, Wish, generate, read_responses, wishes


class Echo:
    """Answers with its prompt's length; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, wanted: Sequence[Wish]) -> list[Response]:
        self.asked += [wish.id for wish in wanted]
        return [Response(wish.id, wish.prompt.held_out, wish.temperature, [1, 2], [3]) for wish in wanted]


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"p{place}", f"subject {place}", [{"role": "user", "content": "?"}]) for place in range(count)]


def test_what_is_there_is_not_generated_again_and_a_torn_line_is(tmp_path: Path) -> None:
    file = tmp_path / "a model" / "responses.jsonl"
    wanted = wishes(prompts(6), seed=0, limit=6)
    first: Any = Echo()
    generate(wanted[:4], file, lambda: first, lambda done, of: None)
    file.write_bytes(file.read_bytes()[:-5])
    second: Any = Echo()
    generate(wanted, file, lambda: second, lambda done, of: None)
    assert second.asked == [wish.id for wish in wanted[3:]]
    assert [response.id for response in read_responses(file)] == [wish.id for wish in wanted]


def test_nothing_lacking_loads_no_engine(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    wanted = wishes(prompts(3), seed=0, limit=3)
    engine: Any = Echo()
    generate(wanted, file, lambda: engine, lambda done, of: None)

    def never() -> Any:
        raise AssertionError("an engine was loaded")

    generate(wanted, file, never, lambda done, of: None)


def test_held_out_prompts_are_answered_greedily_and_others_by_turns() -> None:
    wanted = wishes(prompts(200), seed=1, limit=200)
    assert {wish.temperature for wish in wanted if wish.prompt.held_out} == {0.0}
    assert {wish.temperature for wish in wanted if not wish.prompt.held_out} == {0.0, 0.7}


def test_more_answers_than_prompts_ask_each_at_its_other_temperature_and_held_out_ones_once() -> None:
    few, many = wishes(prompts(200), seed=1, limit=200), wishes(prompts(200), seed=1, limit=1000)
    assert many[:200] == few
    training = [wish for wish in few if not wish.prompt.held_out]
    assert [wish.prompt for wish in many[200:]] == [wish.prompt for wish in training]
    assert len({wish.id for wish in many}) == len(many) == 200 + len(training)
