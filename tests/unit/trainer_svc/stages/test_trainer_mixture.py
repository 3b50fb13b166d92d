"""Mid-training's rows are 2 : 2 : 1, anchored where the reference holds, and the same whenever they are made."""

from itertools import pairwise

from trainer_svc.learner.supervised import Row
from trainer_svc.stages.mixture import GENERAL, MATHS, MEDICAL, mixed_rows, probe_rows
from trainer_svc.stages.sources import Text, is_held_out

END, LENGTH = 9, 4
MARK = {MEDICAL: 1, GENERAL: 2, MATHS: 3}
TEXTS = {kind: [Text(f"{kind}/{n}", str(mark) * 6) for n in range(5)] for kind, mark in MARK.items()}


def encode(text: str) -> list[int]:
    return [int(letter) for letter in text]


def rows(count: int, seed: int = 1) -> list[Row]:
    return mixed_rows(TEXTS, encode, END, LENGTH, count, seed)


def kind_of(ids: list[int]) -> int:
    return next(token for token in ids if token != END)


def test_the_mixture_is_two_to_two_to_one_and_only_general_and_maths_are_anchored() -> None:
    made = rows(50)
    kinds = [kind_of(row.token_ids) for row in made]
    assert [kinds.count(MARK[kind]) for kind in (MEDICAL, GENERAL, MATHS)] == [20, 20, 10]
    assert all(row.anchored == (kind_of(row.token_ids) != MARK[MEDICAL]) for row in made)
    assert all(len(row.token_ids) == LENGTH and row.labels == row.token_ids for row in made)
    assert all(kinds[i : i + 5].count(MARK[MATHS]) == 1 for i in range(0, 50, 5))


def test_a_longer_run_begins_with_the_rows_of_a_shorter_one() -> None:
    assert rows(50)[:20] == rows(20)


def test_no_token_of_a_text_is_skipped_between_rows() -> None:
    medical = [token for row in rows(50) if not row.anchored for token in row.token_ids]
    ends = [place for place, token in enumerate(medical) if token == END]
    assert ends[0] == 6 and all(later - earlier == 7 for earlier, later in pairwise(ends))


def test_a_probe_has_about_as_many_tokens_as_asked_whatever_the_seed() -> None:
    made = probe_rows(TEXTS[MEDICAL], encode, END, LENGTH, 10)
    assert [len(probe.token_ids) for probe in made] == [4, 4, 2]


def test_what_is_held_out_follows_from_the_id_alone() -> None:
    ids = [f"mediq/{n}" for n in range(2000)]
    held_out = [record for record in ids if is_held_out(record, 20)]
    assert 0.17 < len(held_out) / len(ids) < 0.23
    assert all(is_held_out(record, 30) for record in held_out)
