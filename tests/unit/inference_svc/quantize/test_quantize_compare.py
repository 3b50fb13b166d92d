"""The report's figures, against their definitions."""

from pathlib import Path

import numpy as np
import pytest

from inference_svc.quantize.compare import (
    QuantizationReport,
    agreement,
    divergence,
    markdown,
    perplexity,
    speeds,
    weight_bytes,
)

P = np.array([[0.5, 0.25, 0.125]])
Q = np.array([[0.25, 0.5, 0.125]])


def test_the_perplexity_of_even_odds_is_their_number() -> None:
    assert perplexity(np.log(np.full(10, 1 / 7))) == pytest.approx(7)


def test_the_divergence_is_that_of_the_listed_tokens_and_the_rest_as_one() -> None:
    # The quantized side lists the same tokens in another order.
    found = divergence(np.array([[4, 9, 2]]), np.log(P), np.array([[9, 4, 2]]), np.log(Q[:, [1, 0, 2]]))
    assert found == pytest.approx(0.5 * np.log(2) - 0.25 * np.log(2))


def test_equal_distributions_diverge_by_nothing() -> None:
    ids = np.array([[4, 9, 2]])
    assert divergence(ids, np.log(P), ids, np.log(P)) == pytest.approx(0, abs=1e-12)


def test_a_token_that_is_not_listed_makes_the_divergence_a_lower_bound() -> None:
    bound = divergence(np.array([[4, 9, 2]]), np.log(P), np.array([[9, 2, 7]]), np.log(np.array([[0.6, 0.2, 0.1]])))
    true = (P * np.log(P / np.array([[0.02, 0.6, 0.2]]))).sum() + 0.125 * np.log(0.125 / 0.18)
    assert 0 < bound < true


def test_agreement_counts_the_likeliest_token_alone() -> None:
    assert agreement(np.array([[1, 2], [3, 4], [5, 6]]), np.array([[1, 9], [4, 3], [5, 6]])) == pytest.approx(2 / 3)


def test_the_weights_size_is_that_of_all_shards(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"1234")
    (tmp_path / "b.safetensors").write_bytes(b"12")
    (tmp_path / "tokenizer.json").write_bytes(b"123456789")
    assert weight_bytes(tmp_path) == 6


def test_the_report_names_what_was_measured() -> None:
    report = QuantizationReport(
        "w8a8", "a-model", 4096, 100, 12.0, 2_000_000, 1_000_000, 10.0, 10.2, 1.02, 0.01, 0.96, {1: 40.0}, {1: 50.0}
    )
    text = markdown(report)
    for wanted in ("a-model as w8a8", "| weights, MB", "10.200", "tokens/s, batch 1", "50.0", "1.0200", "96.0%"):
        assert wanted in text
    assert speeds({"speed_1": np.array(3.14159), "own": np.array([1.0])}) == {1: 3.1}
