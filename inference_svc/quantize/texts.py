"""What a quantization is calibrated and measured on: clinical dialogues, and the model's own answers.

Invariant: no dialogue and no answer is on both sides. Held-out answers are those of held-out subjects (as for draft
heads); of dialogues every third one is held out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from inference_svc.draft.responses import Response

BUILT_IN = Path(__file__).parent / "data" / "dialogues.txt"
HELD_OUT_OF = 3


class TooLittleText(Exception):
    """There is not one whole block to calibrate with."""


def read_dialogues(file: Path) -> list[str]:
    """Dialogues are parted by an empty line."""
    text = file.read_text(encoding="utf-8")
    return [dialogue.strip() for dialogue in text.split("\n\n") if dialogue.strip()]


def split(dialogues: Sequence[str]) -> tuple[list[str], list[str]]:
    """(to calibrate with, held out)."""
    held_out = list(dialogues[HELD_OUT_OF - 1 :: HELD_OUT_OF])
    return [one for place, one in enumerate(dialogues, start=1) if place % HELD_OUT_OF], held_out


def calibration_blocks(
    dialogues: Sequence[str], responses: Sequence[Response], tokenizer: Any, blocks: int, length: int, seed: int
) -> list[list[int]]:
    """At most `blocks` of `length` tokens, dialogues and own answers mixed; what fills no block is dropped."""
    end = tokenizer.eos_token_id
    pieces = [[*tokenizer(dialogue).input_ids, end] for dialogue in dialogues]
    pieces += [[*one.prompt_ids, *one.token_ids] for one in responses if not one.held_out]
    random.Random(seed).shuffle(pieces)
    stream = list(chain.from_iterable(pieces))[: blocks * length]
    whole = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
    if not whole:
        raise TooLittleText(f"{len(stream)} tokens of calibration text; one block needs {length}")
    return whole
