"""Prompts and their split."""

import json
from pathlib import Path

import pytest

from inference_svc.draft.prompts import BadPrompts, built_in_prompts, prompts_from


def test_no_subject_is_on_both_sides() -> None:
    prompts = built_in_prompts()
    held_out = {prompt.subject for prompt in prompts if prompt.held_out}
    training = {prompt.subject for prompt in prompts if not prompt.held_out}
    assert held_out and training and not held_out & training
    assert len({prompt.id for prompt in prompts}) == len(prompts)


def test_a_file_gives_messages_or_a_lone_prompt(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    dialogue = [{"role": "system", "content": "You are a doctor."}, {"role": "user", "content": "It hurts."}]
    file.write_text(json.dumps({"messages": dialogue, "subject": "pain"}) + "\n\n" + json.dumps({"prompt": "Why?"}))
    first, second = prompts_from([file])
    assert (first.messages, first.subject) == (dialogue, "pain")
    assert second.messages == [{"role": "user", "content": "Why?"}]


def test_a_line_that_is_no_prompt_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "Why?"}\n{"text": "?"}\n')
    with pytest.raises(BadPrompts, match="line 2"):
        prompts_from([file])
