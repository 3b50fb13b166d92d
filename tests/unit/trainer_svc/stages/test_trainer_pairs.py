"""Supplied pairs: read whole, learned as answers alone, left out when they are too long."""

import json
from pathlib import Path

import pytest

from tests.tiny_llama import tiny_tokenizer
from trainer_svc.config import resolve
from trainer_svc.stages.corpus import read_corpus
from trainer_svc.stages.pairs import encode, that_fit
from trainer_svc.stages.sources import DataError, Pair, read_pairs

END = 1


def written(directory: Path, *lines: object) -> tuple[str, ...]:
    (directory / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return ("pairs:pairs.jsonl",)


def line(number: int, answer: str = "w5 w6") -> dict[str, str]:
    return {"id": f"p{number}", "prompt": "w2 w3 w4", "answer": answer}


def test_an_answer_follows_its_prompt_and_ends() -> None:
    one = encode("w2 w3 w4", "w5 w6", tiny_tokenizer())
    assert (one.token_ids, one.given) == ([2, 3, 4, 5, 6, END], 3)


def test_a_pair_that_is_too_long_is_left_out_whole() -> None:
    pairs = [Pair("short", "w2", "w5"), Pair("long", "w2", "w5 " * 9)]
    assert [pair.pair_id for pair, _ in that_fit(pairs, tiny_tokenizer(), 4)] == ["short"]


def test_lines_of_one_id_are_held_out_together(tmp_path: Path) -> None:
    lines = [line(number // 2, f"w{5 + number % 2}") for number in range(80)]
    split = read_pairs(tmp_path, written(tmp_path, *lines), 20)
    train, held_out = ({pair.pair_id for pair in part} for part in (split.train, split.held_out))
    assert train and held_out and not train & held_out
    assert len(split.train) == 2 * len(train)


@pytest.mark.parametrize("missing", ["id", "prompt", "answer"])
def test_a_pair_without_one_of_its_parts_is_refused(tmp_path: Path, missing: str) -> None:
    for broken in (line(1) | {missing: ""}, {k: v for k, v in line(1).items() if k != missing}):
        with pytest.raises(DataError, match=r"pairs\.jsonl is no pairs file"):
            read_pairs(tmp_path, written(tmp_path, broken), 20)


def test_held_out_answers_are_what_perplexity_is_measured_on(tmp_path: Path) -> None:
    sources = written(tmp_path, *(line(number) for number in range(60)))
    config = resolve("smoke", {
        "data.pairs": json.dumps(sources), "data.tasks": "[]", "evaluation.perplexity_tokens": "8"
    }, "sft")  # fmt: skip
    corpus = read_corpus(tmp_path, config, tiny_tokenizer(), pytest.fail)
    probes = corpus.probe(16, 8)["pairs"]
    assert len(corpus.pairs.held_out) > len(probes) == 3, "as many whole answers as have eight tokens"
    assert {probe.given for probe in probes} == {3}
    assert corpus.probe(5, 8)["pairs"] == [], "none is that short"
