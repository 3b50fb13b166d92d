"""The reduced vocabulary and its offsets."""

import pytest
import torch

from inference_svc.draft.vocabulary import most_used


def test_the_offsets_lead_from_each_draft_id_to_its_target_id() -> None:
    vocabulary = most_used([[9, 9, 4, 7], [4, 9]], size=3, target_size=12, always=[])
    assert vocabulary.target_ids.tolist() == [4, 7, 9]
    assert (torch.arange(3) + vocabulary.d2t).tolist() == [4, 7, 9]


def test_the_inverse_names_what_is_outside() -> None:
    inverse = most_used([[9, 4]], size=2, target_size=12, always=[]).t2d(12)
    assert inverse[4] == 0
    assert inverse[9] == 1
    assert (inverse >= 0).sum() == 2


def test_the_end_of_an_answer_is_always_inside_though_no_answer_has_it() -> None:
    vocabulary = most_used([[5] * 10, [6] * 10], size=2, target_size=12, always=[11])
    assert vocabulary.target_ids.tolist() == [5, 11]
    assert vocabulary.coverage == pytest.approx(0.5)


def test_too_few_tokens_are_filled_up_to_the_wanted_size() -> None:
    vocabulary = most_used([[9]], size=4, target_size=12, always=[])
    assert vocabulary.target_ids.tolist() == [0, 1, 2, 9]


def test_a_vocabulary_larger_than_the_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="13"):
        most_used([[1]], size=13, target_size=12, always=[])
