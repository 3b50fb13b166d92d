"""Identity and seeds.

Invariant: each is a function of the request alone, so a replayed request is the same trajectory.
"""

from __future__ import annotations

import hashlib

from anamnesis.common.v1.rollout_pb2 import RolloutContext

SEED_BITS = 63  # engines and SQLite alike take a signed 64-bit seed


def trajectory_id(request_id: str) -> str:
    return f"trj-{_digest('trajectory', request_id).hex()[:32]}"


def doctor_turn_seed(request_seed: int, turn: int) -> int:
    """The sampling seed of the doctor's turn number `turn` (from 0)."""
    return _seed("doctor-turn", str(request_seed), str(turn))


def rubric_seed(context: RolloutContext) -> int:
    """A function of the context, which the samples of a group share: one rubric a group, or its mean is no baseline."""
    return _seed("rubric", context.SerializeToString(deterministic=True))


def gets_second_opinion(request_id: str, share: float) -> bool:
    return int.from_bytes(_digest("second-opinion", request_id), "big") < share * 2**256


def _seed(*parts: str | bytes) -> int:
    return int.from_bytes(_digest(*parts), "big") >> (256 - SEED_BITS)


def _digest(*parts: str | bytes) -> bytes:
    """SHA-256 over length-prefixed parts, so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
