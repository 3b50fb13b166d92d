"""Which cases may be trained on and which are held out. The trainer reads ids and splits, never the medicine."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


class CaseStoreError(Exception):
    """The case store cannot be read, or one part of it is empty."""


@dataclass(frozen=True)
class CaseSplits:
    train: tuple[str, ...]
    held_out: tuple[str, ...]


def read_splits(store: Path) -> CaseSplits:
    """The ids of every case file, sorted, by split; a case id in both is refused."""
    found: dict[str, set[str]] = {"train": set(), "held_out": set()}
    for path in sorted(store.glob("**/*.toml")):
        case = tomllib.loads(path.read_text(encoding="utf-8"))
        if "case_id" not in case:
            continue
        split = case.get("split")
        if split not in found:
            raise CaseStoreError(f"{path.name}: split must be train or held_out, not {split!r}")
        found[split].add(case["case_id"])
    both = found["train"] & found["held_out"]
    if both:
        raise CaseStoreError(f"cases in both splits: {', '.join(sorted(both))}")
    if not found["train"] or not found["held_out"]:
        raise CaseStoreError(f"{store} needs both training and held-out cases")
    return CaseSplits(tuple(sorted(found["train"])), tuple(sorted(found["held_out"])))
