"""What the policy saw and sampled, as segments.

Invariant: joined in order they are the exact sequence; nothing is tokenized again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from anamnesis.common.v1.dialogue_pb2 import Role
from anamnesis.common.v1.rollout_pb2 import Segment, VersionRun


class InconsistentTurn(ValueError):
    """The engine's answer does not continue the sequence that it was given."""


@dataclass(frozen=True)
class DoctorTurn:
    """One sampled turn. prompt_token_ids is the whole sequence before it."""

    text: str
    prompt_token_ids: Sequence[int]
    token_ids: Sequence[int]
    logprobs: Sequence[float]
    version_runs: Sequence[VersionRun]


@dataclass
class Transcript:
    segments: list[Segment] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)

    def add(self, turn: DoctorTurn) -> None:
        """Append what was new in the prompt, then what was sampled. Raises InconsistentTurn."""
        known = len(self.token_ids)
        prompt = list(turn.prompt_token_ids)
        if len(prompt) <= known or prompt[:known] != self.token_ids:
            raise InconsistentTurn("the prompt does not continue the token ids so far")
        if not turn.token_ids or len(turn.token_ids) != len(turn.logprobs):
            raise InconsistentTurn(f"{len(turn.token_ids)} tokens with {len(turn.logprobs)} log-probs")
        if sum(run.token_count for run in turn.version_runs) != len(turn.token_ids):
            raise InconsistentTurn("version_runs do not cover the sampled tokens")
        self.segments.append(Segment(role=Role.ROLE_USER, token_ids=prompt[known:]))
        self.segments.append(
            Segment(
                role=Role.ROLE_ASSISTANT,
                token_ids=turn.token_ids,
                logprobs=turn.logprobs,
                trainable=True,
                version_runs=turn.version_runs,
            )
        )
        self.token_ids = [*prompt, *turn.token_ids]
