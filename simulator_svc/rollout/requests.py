"""Whether a request can be played.

Invariant: a reason names the field and nothing of its content, so reasons can be counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import protovalidate

from anamnesis.common.v1.dialogue_pb2 import Dialogue, Role
from anamnesis.common.v1.patient_pb2 import CaseReference
from anamnesis.common.v1.rollout_pb2 import RolloutKind, RolloutRequest, TerminalState
from service_kit.errors import InvalidArgument, NotFound
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case
from simulator_svc.mapping import resolve_case
from simulator_svc.rollout.outcome import Ended


def is_readable(request: RolloutRequest) -> bool:
    """Whether a terminal record can be addressed at all; otherwise the message is a dead letter."""
    return bool(request.request_id) and bool(request.run_id)


def check(request: RolloutRequest, library: CaseLibrary) -> Case | None:
    """The case that the request means, None for a prompt. Raises Ended(INVALID, "invalid:<field>") at a broken rule."""
    violations = [violation.proto for violation in protovalidate.collect_violations(request)]
    for violation in sorted(violations, key=lambda violation: not violation.field):
        path = ".".join(element.field_name for element in violation.field.elements) if violation.field else ""
        # A rule over the whole message has no path; its id ends with the field that it is about.
        raise invalid(path or violation.rule_id.rsplit(".", 1)[-1], violation.message)
    context = request.context
    if request.kind == RolloutKind.ROLLOUT_KIND_PROMPT:
        _check_dialogue("context.prompt.prompt", context.prompt.prompt, (Role.ROLE_SYSTEM, *_SPEAKERS))
        return None
    if request.kind == RolloutKind.ROLLOUT_KIND_FRAGMENT:
        _check_dialogue("context.fragment.so_far", context.fragment.so_far, _SPEAKERS)
        return _find_case("context.fragment.case", context.fragment.case, library)
    return _find_case("context.consultation.case", context.consultation.case, library)


def invalid(field: str, detail: str) -> Ended:
    return Ended(TerminalState.TERMINAL_STATE_INVALID, f"invalid:{field}", detail)


_SPEAKERS = (Role.ROLE_USER, Role.ROLE_ASSISTANT)


def _find_case(field: str, reference: CaseReference, library: CaseLibrary) -> Case:
    try:
        return resolve_case(reference, library)
    except (NotFound, InvalidArgument) as error:
        raise invalid(f"{field}.{reference.WhichOneof('reference')}", error.message) from error


def _check_dialogue(field: str, dialogue: Dialogue, roles: Sequence[Role.ValueType]) -> None:
    if any(message.role not in roles for message in dialogue.messages):
        raise invalid(field, "a role that has no place here")
    if not dialogue.messages or dialogue.messages[-1].role != Role.ROLE_USER:
        raise invalid(field, "must end with the turn that the doctor answers")
