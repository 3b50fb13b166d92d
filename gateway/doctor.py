"""The doctor model for users: what is sent to the policy when somebody asks it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2
from service_kit.errors import Aborted

DOCTOR_PROMPT = (Path(__file__).parent / "prompts" / "doctor.txt").read_text(encoding="utf-8").strip()


def with_doctor_prompt(messages: Sequence[dialogue_pb2.Message]) -> list[dialogue_pb2.Message]:
    """The dialogue with the doctor's instructions in front, unless it brings its own."""
    if any(message.role == dialogue_pb2.ROLE_SYSTEM for message in messages):
        return list(messages)
    return [dialogue_pb2.Message(role=dialogue_pb2.ROLE_SYSTEM, content=DOCTOR_PROMPT), *messages]


def sampling_or_default(sampling: rollout_pb2.Sampling | None, max_tokens: int) -> rollout_pb2.Sampling:
    """What the user asked for, or the gateway's own: temperature 0.7, so that the doctor talks like a person."""
    if sampling is not None:
        return sampling
    return rollout_pb2.Sampling(temperature=0.7, top_p=0.95, max_tokens=max_tokens)


def consultation_request(
    messages: Sequence[dialogue_pb2.Message],
    sampling: rollout_pb2.Sampling,
    seed: int | None,
    model: str = "",
) -> inference_pb2.GenerateRequest:
    """A user's request: it goes before judges and rollouts."""
    return inference_pb2.GenerateRequest(
        model=model,
        prompt=inference_pb2.Prompt(new_messages=messages),
        sampling=sampling,
        seed=seed,
        priority=inference_pb2.PRIORITY_CONSULTATION,
    )


def raise_if_aborted(finished: inference_pb2.GenerateResponse.Finished) -> None:
    """A weight update may abort what is in flight; half an answer must not pass for a whole one."""
    if finished.finish_reason == inference_pb2.FINISH_REASON_ABORTED:
        raise Aborted("GENERATION_ABORTED", "the answer was given up half way, as the model changed; ask again")
