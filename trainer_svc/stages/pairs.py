"""Supplied pairs of a prompt and its answer as token ids: the prompt in its chat template, the answer, the end.

Invariant: a pair is whole or left out; half an answer would teach to stop in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer_svc.stages.sources import Pair


@dataclass(frozen=True)
class Encoded:
    """The first `given` of token_ids are the prompt."""

    token_ids: list[int]
    given: int


def encode(prompt: str, answer: str, tokenizer: Any) -> Encoded:
    said = [{"role": "user", "content": prompt}]
    asked = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    ids = tokenizer.encode(asked, add_special_tokens=False)
    answered = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
    return Encoded([*ids, *answered], len(ids))


def that_fit(pairs: Sequence[Pair], tokenizer: Any, most: int) -> list[tuple[Pair, Encoded]]:
    """Those of at most `most` tokens."""
    encoded = [(pair, encode(pair.prompt, pair.answer, tokenizer)) for pair in pairs]
    return [(pair, one) for pair, one in encoded if len(one.token_ids) <= most]
