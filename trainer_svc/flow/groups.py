"""Trajectories become groups, and groups become batches in the order of their index, whatever the order of arrival.

That order makes a run repeatable and starves no long episode: a step waits for the oldest group, up to its timeout.
Only COMPLETED trajectories train; whatever else comes back is dropped for a named reason, and so are groups that teach
nothing: fewer than two completed, or no spread in their rewards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from anamnesis.common.v1 import rollout_pb2
from trainer_svc.records.ledger import DROPPED, TRAINED, Outcome

SPREAD = 1e-6


@dataclass(frozen=True)
class Member:
    """A trajectory with what training needs of it: tokens, indices of sampled ones, their log-probs, and the runs of
    tokens that one version sampled."""

    trajectory: rollout_pb2.Trajectory
    token_ids: list[int]
    sampled: list[int]
    logprobs: list[float]
    runs: list[rollout_pb2.VersionRun]


class Malformed(Exception):
    """A COMPLETED trajectory whose tokens, log-probs and versions do not fit together."""


def member(trajectory: rollout_pb2.Trajectory) -> Member:
    token_ids: list[int] = []
    sampled: list[int] = []
    logprobs: list[float] = []
    runs: list[rollout_pb2.VersionRun] = []
    for segment in trajectory.segments:
        if segment.trainable:
            if len(segment.logprobs) != len(segment.token_ids):
                raise Malformed("log-probs do not match tokens")
            if sum(run.token_count for run in segment.version_runs) != len(segment.token_ids):
                raise Malformed("version runs do not match tokens")
            sampled += range(len(token_ids), len(token_ids) + len(segment.token_ids))
            logprobs += segment.logprobs
            runs += segment.version_runs
        token_ids += segment.token_ids
    if not sampled:
        raise Malformed("nothing was sampled")
    if sampled[0] == 0:
        raise Malformed("there is no prompt")
    return Member(trajectory, token_ids, sampled, logprobs, runs)


@dataclass(frozen=True)
class FreshMember:
    """The tokens of a member that are fresh enough to train on, and their mean age in versions."""

    member: Member
    trained: list[int]
    logprobs: list[float]
    age: float


@dataclass(frozen=True)
class Judged:
    """A complete group: the members to train on (none when the group is dropped) and every request's outcome."""

    index: int
    members: list[FreshMember]
    outcomes: list[Outcome]


@dataclass
class _Pending:
    request_ids: list[str]
    published_at: float
    received: dict[str, rollout_pb2.Trajectory] = field(default_factory=dict)
    timed_out: bool = False
    _members: dict[str, Member] = field(default_factory=dict)
    _judged: tuple[int, int, "Judged"] | None = None

    def complete(self) -> bool:
        return self.timed_out or len(self.received) == len(self.request_ids)

    def judged(self, index: int, run_id: str, version: int, staleness: int) -> "Judged":
        """Judged once for a version, however often admission asks."""
        known = self._judged
        if known is None or known[:2] != (version, len(self.received)):
            found = judge(index, self.request_ids, self.received, run_id, version, staleness, self._member)
            known = self._judged = (version, len(self.received), found)
        return known[2]

    def _member(self, trajectory: rollout_pb2.Trajectory) -> Member:
        """Read once, however many versions the group waits for."""
        request_id = trajectory.request.request_id
        if request_id not in self._members:
            self._members[request_id] = member(trajectory)
        return self._members[request_id]


class Groups:
    """The training groups that were asked for and are not judged yet."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}

    def expect(self, index: int, request_ids: Sequence[str], now: float) -> None:
        self._pending[index] = _Pending(list(request_ids), now)

    def add(self, index: int, trajectory: rollout_pb2.Trajectory) -> None:
        self._pending[index].received[trajectory.request.request_id] = trajectory

    def time_out(self, now: float, limit: float) -> int:
        """Groups whose time is over are complete as they are."""
        late = [g for g in self._pending.values() if not g.complete() and now - g.published_at > limit]
        for group in late:
            group.timed_out = True
        return len(late)

    def running(self) -> int:
        return sum(not group.complete() for group in self._pending.values())

    def oldest(self) -> int | None:
        return min(self._pending, default=None)

    def worth_waiting_for(self, run_id: str, version: int, staleness: int) -> int:
        """Complete groups that will be trained on; the others have given their place back already."""
        return sum(
            bool(group.judged(index, run_id, version, staleness).members)
            for index, group in self._pending.items()
            if group.complete()
        )

    def judge_next(self, run_id: str, version: int, staleness: int) -> Judged | None:
        """The oldest group, if it is complete; it is forgotten here."""
        if not self._pending:
            return None
        index = min(self._pending)
        if not self._pending[index].complete():
            return None
        return self._pending.pop(index).judged(index, run_id, version, staleness)


def judge(
    index: int,
    request_ids: Sequence[str],
    received: dict[str, rollout_pb2.Trajectory],
    run_id: str,
    version: int,
    staleness: int,
    read: Callable[[rollout_pb2.Trajectory], Member] = member,
) -> Judged:
    """Pure: the same records make the same group."""
    outcomes: dict[str, Outcome] = {}
    fresh: dict[str, FreshMember] = {}
    for request_id in request_ids:
        trajectory = received.get(request_id)
        if trajectory is None:
            outcomes[request_id] = Outcome(request_id, DROPPED, "timeout")
        elif trajectory.terminal_state != rollout_pb2.TERMINAL_STATE_COMPLETED:
            outcomes[request_id] = Outcome(request_id, DROPPED, drop_reason(trajectory))
        else:
            try:
                kept = freshen(read(trajectory), run_id, version, staleness)
            except Malformed:
                outcomes[request_id] = Outcome(request_id, DROPPED, "malformed")
                continue
            if kept.trained:
                fresh[request_id] = kept
            else:
                outcomes[request_id] = Outcome(request_id, DROPPED, "stale")
    rewards = [kept.member.trajectory.reward for kept in fresh.values()]
    reason = ""
    if len(fresh) < 2:
        reason = "group_too_small"
    elif max(rewards) - min(rewards) < SPREAD:
        reason = "no_spread"
    for request_id in fresh:
        outcomes[request_id] = Outcome(request_id, DROPPED, reason) if reason else Outcome(request_id, TRAINED)
    members = [] if reason else list(fresh.values())
    return Judged(index, members, [outcomes[request_id] for request_id in request_ids])


def freshen(whole: Member, run_id: str, version: int, staleness: int) -> FreshMember:
    """The per-token backstop to admission: a token of another run or older than η versions is not trained on."""
    trained: list[int] = []
    logprobs: list[float] = []
    ages = end = 0
    for run in whole.runs:
        begin, end = end, end + run.token_count
        # A version of a lost incarnation can be ahead of the checkpoint; it is off-policy, not old.
        age = max(0, version - run.policy_version.step)
        if run.policy_version.run_id == run_id and age <= staleness:
            trained += whole.sampled[begin:end]
            logprobs += whole.logprobs[begin:end]
            ages += age * run.token_count
    return FreshMember(whole, trained, logprobs, ages / max(1, len(trained)))


def drop_reason(trajectory: rollout_pb2.Trajectory) -> str:
    """The terminal state, and the worker's first reason where it gave one: "filtered:repeated_turn"."""
    name = rollout_pb2.TerminalState.Name(trajectory.terminal_state)
    state = name.removeprefix("TERMINAL_STATE_").lower()
    return f"{state}:{trajectory.reasons[0]}" if trajectory.reasons else state
