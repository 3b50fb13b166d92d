"""The comparisons of `make bench-inference`."""

from collections import Counter

from tests.benchmarks.inference_losses import first_difference, same_distribution


def test_the_first_difference_is_a_token_or_the_shorter_answers_end() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 9, 3]) == 1
    assert first_difference([1, 2, 3], [1, 2]) == 2


def test_samples_of_one_distribution_agree_and_of_two_do_not() -> None:
    one, same = Counter({1: 300, 2: 150, 3: 50, 4: 3}), Counter({1: 290, 2: 158, 3: 52, 5: 3})
    other = Counter({1: 200, 2: 250, 3: 50, 4: 3})
    assert same_distribution(one, same) > 0.05
    assert same_distribution(one, other) < 0.001
