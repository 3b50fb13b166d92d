"""What is calibrated on is not what is measured on."""

from types import SimpleNamespace

import pytest

from inference_svc.draft.responses import Response
from inference_svc.quantize.texts import BUILT_IN, TooLittleText, calibration_blocks, read_dialogues, split


class Letters:
    eos_token_id = 0

    def __call__(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])


def test_the_built_in_dialogues_fall_into_two_parts_with_nothing_in_common() -> None:
    dialogues = read_dialogues(BUILT_IN)
    calibrating, held_out = split(dialogues)
    assert len(dialogues) >= 12 and len(held_out) >= 4
    assert not set(calibrating) & set(held_out)
    assert all(one.startswith("Doctor:") and "Patient:" in one for one in dialogues)


def test_blocks_are_whole_and_have_no_held_out_answer() -> None:
    responses = [Response("a", False, 0.0, [1, 2], [3] * 6), Response("b", True, 0.0, [1, 2], [99] * 6)]
    blocks = calibration_blocks(["x" * 20], responses, Letters(), blocks=10, length=8, seed=0)
    assert {len(block) for block in blocks} == {8}
    assert len(blocks) == 3
    seen = {token for block in blocks for token in block}
    assert 3 in seen and 99 not in seen


def test_less_than_one_block_is_refused() -> None:
    with pytest.raises(TooLittleText, match="needs 64"):
        calibration_blocks(["short"], [], Letters(), blocks=1, length=64, seed=0)
