"""The prompts that a draft head learns on, and which of them are held out.

Invariant: a prompt is held out by its subject alone (a digest, no chance), so a held-out subject is in no training
prompt, and the same files give the same split on every machine.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUILT_IN = Path(__file__).parent / "data" / "prompts.toml"
# One subject in so many.
HELD_OUT_OF = 10

Message = dict[str, str]


class BadPrompts(Exception):
    """A prompts file cannot be read; says where."""


@dataclass(frozen=True)
class Prompt:
    id: str
    # What it is about: the unit of the split.
    subject: str
    messages: list[Message]

    @property
    def held_out(self) -> bool:
        digest = hashlib.sha256(self.subject.encode()).digest()
        return int.from_bytes(digest[:8], "big") % HELD_OUT_OF == 0


def built_in_prompts(path: Path = BUILT_IN) -> list[Prompt]:
    """Every complaint in every template, complaints varying fastest: a beginning of the list is varied already."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    prompts = []
    for place, template in enumerate(data["templates"]):
        for complaint in data["complaints"]:
            messages = [{"role": "user", "content": template["user"].format(complaint=complaint)}]
            if "system" in template:
                messages.insert(0, {"role": "system", "content": template["system"]})
            prompts.append(Prompt(f"built-in/{place}/{complaint}", complaint, messages))
    return prompts


def prompts_from(files: Sequence[Path]) -> list[Prompt]:
    """Of JSON-lines files: `{"messages": [{"role", "content"}, ...]}` or `{"prompt": text}`, with an optional
    `subject` (without it the prompt is its own)."""
    return [prompt for file in files for prompt in _read(file)]


def _read(file: Path) -> Iterator[Prompt]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            messages = _messages(record)
        except (ValueError, TypeError, KeyError) as error:
            raise BadPrompts(f"{file}, line {number}: {error!r}") from error
        text = json.dumps(messages, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        yield Prompt(f"{file.name}/{digest}", str(record.get("subject", text)), messages)


def _messages(record: dict[str, Any]) -> list[Message]:
    if "messages" not in record:
        return [{"role": "user", "content": str(record["prompt"])}]
    messages = [{"role": str(one["role"]), "content": str(one["content"])} for one in record["messages"]]
    if not messages:
        raise ValueError("no messages")
    return messages
