"""Which version may follow which, and who sampled what."""

from __future__ import annotations

import pytest

from inference_svc.weights.versions import BASE, Run, Version, joined


@pytest.mark.parametrize(
    ("served", "next_version", "may"),
    [
        (BASE, Version("a", 0, 0), True),
        (Version("a", 0, 3), Version("a", 0, 4), True),
        (Version("a", 0, 3), Version("a", 1, 0), True),
        (Version("a", 0, 3), Version("a", 0, 3), False),
        (Version("a", 0, 3), Version("a", 0, 2), False),
        (Version("a", 1, 0), Version("a", 0, 9), False),
        (Version("a", 5, 9), Version("b", 0, 0), True),
    ],
)
def test_a_run_moves_forward_only(served: Version, next_version: Version, may: bool) -> None:
    assert next_version.may_follow(served) is may


@pytest.mark.parametrize("version", [BASE, Version("run-7", 2, 40), Version("a/b/c", 1, 1)])
def test_the_engines_label_gives_the_version_back(version: Version) -> None:
    assert Version.of_label(version.label()) == version


def test_neighbouring_runs_of_one_version_are_one() -> None:
    one, two = Version("a", 0, 1), Version("a", 0, 2)
    assert joined([Run(one, 2), Run(one, 3), Run(two, 0), Run(two, 4)]) == [Run(one, 5), Run(two, 4)]
