"""The matchers by name. Each looks at one doctor turn and returns the words that show it, or nothing."""

from __future__ import annotations

from rubric_svc.judge.matchers import answers, clinical, history, manner, safety  # noqa: F401  (they register themselves)
from rubric_svc.judge.matchers.base import MATCHERS, Matcher, Terms, WrongTerms

__all__ = ["MATCHERS", "Matcher", "Terms", "WrongTerms"]
