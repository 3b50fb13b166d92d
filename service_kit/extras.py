"""Commands whose libraries are no part of a service: what is missing is named with the extra that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service_kit.errors import FailedPrecondition


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Imports in this block may fail for want of `extra`: raises FailedPrecondition, which says what to install."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise FailedPrecondition(
            "EXTRA_NOT_INSTALLED",
            f"the Python package {missing.name} is not installed; run: pip install 'anamnesis[{extra}]'",
        ) from missing
