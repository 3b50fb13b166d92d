"""A consultation cut before each doctor turn: what was said so far is frozen, the next doctor turn is to be sampled."""

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2


def fragments_of(trajectory: rollout_pb2.Trajectory) -> list[rollout_pb2.FragmentContext]:
    """One fragment a doctor turn, in order; the first is the opening."""
    consultation = trajectory.request.context.consultation
    said = [m for m in trajectory.dialogue.messages if m.role != dialogue_pb2.ROLE_SYSTEM]
    fragments = []
    for index, message in enumerate(said):
        if message.role == dialogue_pb2.ROLE_ASSISTANT:
            fragment = rollout_pb2.FragmentContext(so_far=dialogue_pb2.Dialogue(messages=said[:index]))
            fragment.case.CopyFrom(consultation.case)
            if consultation.HasField("persona"):
                fragment.persona.CopyFrom(consultation.persona)
            fragments.append(fragment)
    return fragments
