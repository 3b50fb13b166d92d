"""Whether a run's account is without a gap, from its Run message alone."""

from __future__ import annotations

from anamnesis.common.v1 import rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2


def purpose_name(account: trainer_pb2.LedgerAccount) -> str:
    return rollout_pb2.Purpose.Name(account.purpose).removeprefix("PURPOSE_").lower()


def dropped_total(account: trainer_pb2.LedgerAccount) -> int:
    return sum(account.dropped.values())


def account_of(run: trainer_pb2.Run, purpose: rollout_pb2.Purpose.ValueType) -> trainer_pb2.LedgerAccount:
    """The purpose's account; an empty one where nothing was published for it."""
    for account in run.ledger:
        if account.purpose == purpose:
            return account
    return trainer_pb2.LedgerAccount(purpose=purpose)


def ledger_gaps(run: trainer_pb2.Run) -> list[str]:
    """What does not add up. In a run that succeeded nothing may be outstanding either."""
    gaps = []
    for account in run.ledger:
        name = purpose_name(account)
        accounted = account.trained + account.used + dropped_total(account) + account.outstanding
        if accounted != account.published:
            gaps.append(f"{name}: published {account.published}, accounted for {accounted}")
        if account.outstanding and run.state == trainer_pb2.RUN_STATE_SUCCEEDED:
            gaps.append(f"{name}: {account.outstanding} outstanding although the run has ended")
        if account.trained and account.purpose != rollout_pb2.PURPOSE_TRAIN:
            gaps.append(f"{name}: {account.trained} trained on, which only train requests may be")
    return gaps
