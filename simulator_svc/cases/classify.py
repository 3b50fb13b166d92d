"""Which category a clinical sentence belongs to: the first rule of importers/data/classify.toml that fits decides."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from functools import cache
from pathlib import Path

from simulator_svc.cases.model import Category

_RULES = Path(__file__).parent / "importers" / "data" / "classify.toml"
ANY = frozenset(Category)


def category_of(sentence: str, among: Collection[Category] = ANY, default: Category | None = None) -> Category:
    for category, pattern in _rules():
        if category in among and pattern.search(sentence):
            return category
    return default or Category.ASSOCIATED


@cache
def _rules() -> tuple[tuple[Category, re.Pattern[str]], ...]:
    data = tomllib.loads(_RULES.read_text(encoding="utf-8"))
    return tuple((Category(row["category"]), re.compile(row["pattern"], re.IGNORECASE)) for row in data["rule"])
