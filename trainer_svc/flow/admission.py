"""How many trajectories may be asked for now: enough to keep the workers busy, never so many that they grow stale."""


def capacity(
    *, max_concurrent: int, running: int, staleness: int, version: int, batch: int, accepted: int, steps: int
) -> int:
    """min(max_concurrent - running, (η + v + 1)·B - (accepted + running)), and no more than the run's steps can use.

    staleness is η, version v (steps done), batch B in trajectories; accepted = trained + waiting to be trained.
    A dropped trajectory is in neither count, so it gives its place back. Never below zero.
    """
    wanted = min(staleness + version + 1, steps) * batch
    return max(0, min(max_concurrent - running, wanted - (accepted + running)))


def whole_groups(trajectories: int, group_size: int) -> int:
    return trajectories // group_size
