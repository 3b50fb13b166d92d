"""HealthBench's file comes out as it went in."""

from pathlib import Path

import pytest

from rubric_svc.evaluate.healthbench import NotHealthBench, parse_item, read_items, write_items

FILE = Path(__file__).parents[5] / "shared" / "data" / "healthbench" / "healthbench_main_first100.jsonl"


@pytest.mark.skipif(not FILE.exists(), reason=f"the public data are not at {FILE}")
def test_the_public_file_is_written_byte_for_byte_as_it_was_read(tmp_path: Path) -> None:
    items = list(read_items(FILE))
    copy = tmp_path / "copy.jsonl"
    write_items(items, copy)
    assert copy.read_bytes().rstrip(b"\n") == FILE.read_bytes().rstrip(b"\n")
    assert (len(items), sum(len(item.rubric.criteria) for item in items)) == (100, 1157)
    assert all("canary" in item.record for item in items)


def test_a_line_that_is_no_item_names_its_place(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('\n{"prompt_id": "a"}\n', encoding="utf-8")
    with pytest.raises(NotHealthBench, match=r"wrong\.jsonl:2: KeyError"):
        list(read_items(wrong))


def test_criteria_keep_points_and_tags() -> None:
    item = parse_item(
        '{"prompt_id": "p", "prompt": [{"role": "user", "content": "Hi"}], "example_tags": ["theme:x"], '
        '"rubrics": [{"criterion": "Greets.", "points": -4, "tags": ["axis:accuracy"]}]}'
    )
    criterion = item.rubric.criteria[0]
    assert (criterion.points, criterion.tags, criterion.criterion_id) == (-4, ("axis:accuracy",), "p/0")
