"""RL 3, multi-turn: consultations on training cases are cut into fragments, and the next doctor turn is trained.

Repeated, role-inverted and over-long turns are filtered by the worker and counted in the ledger by reason.
"""

from anamnesis.common.v1 import rollout_pb2
from trainer_svc.flow.fragments import fragments_of
from trainer_svc.flow.requests import CONTEXT
from trainer_svc.run import Run, RunFailed

# A consultation cut short by a filter is still a context up to its last doctor turn.
SLICEABLE = (rollout_pb2.TERMINAL_STATE_COMPLETED, rollout_pb2.TERMINAL_STATE_FILTERED)


def practise(run: Run) -> None:
    if run.config.rollouts.kind == "fragment":
        collect_context(run)
    run.train()


def collect_context(run: Run) -> None:
    """Consultations on training cases, cut into the fragments that are trained on."""
    if run.journal.context_finished:
        return
    count = run.config.rollouts.context_consultations
    entries = [entry for i in range(count) for entry in run.plan.entries(CONTEXT, i)]
    played = run.collect("collecting_context", entries, SLICEABLE)
    run.journal.fragments = [fragment for _, trajectory in played for fragment in fragments_of(trajectory)]
    if not run.journal.fragments:
        raise RunFailed(f"none of {count} context consultations could be cut into fragments")
    run.journal.context_finished = True
    run.checkpoint()
