"""Findings that are let stand, each for a written reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from k8s.check.manifests import Finding

FILE = Path(__file__).with_name("waivers.toml")


class Waiver(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    subject: str
    """A regular expression over the whole subject (Kind/name)."""
    reason: str = Field(min_length=20)

    def covers(self, finding: Finding) -> bool:
        return finding.rule == self.rule and re.fullmatch(self.subject, finding.subject) is not None


def read_waivers(file: Path = FILE) -> list[Waiver]:
    return [Waiver(**entry) for entry in tomllib.loads(file.read_text(encoding="utf-8"))["waiver"]]


def apart(findings: Sequence[Finding], waivers: Sequence[Waiver]) -> tuple[list[Finding], list[Finding]]:
    """(what stands against us, what is waived). A waiver of nothing is itself held against us."""
    waived = [finding for finding in findings if any(waiver.covers(finding) for waiver in waivers)]
    idle = [waiver for waiver in waivers if not any(waiver.covers(finding) for finding in waived)]
    against = [finding for finding in findings if finding not in waived]
    against += [Finding(waiver.rule, waiver.subject, "the waiver covers nothing any more") for waiver in idle]
    return against, waived
