"""The admission formula of the design, and that it starves nothing."""

import random

from trainer_svc.flow.admission import capacity, whole_groups


def free(**changes: int) -> int:
    values = {
        "max_concurrent": 100, "running": 0, "staleness": 1, "version": 0, "batch": 16, "accepted": 0, "steps": 10
    }  # fmt: skip
    return capacity(**{**values, **changes})


def test_a_fresh_run_may_ask_for_one_step_and_eta_more() -> None:
    assert free() == 32
    assert free(staleness=0) == 16


def test_each_version_opens_one_batch_and_running_and_accepted_close_it() -> None:
    assert free(version=3, accepted=48, running=16) == 16
    assert free(version=3, accepted=48, running=32) == 0


def test_concurrency_is_a_bound_of_its_own() -> None:
    assert free(max_concurrent=20, running=8) == 12


def test_nothing_is_asked_beyond_the_last_step() -> None:
    assert free(version=9, accepted=144, running=0) == 16
    assert free(version=9, accepted=160) == 0
    assert free(version=9, accepted=170) == 0


def test_whole_groups_only() -> None:
    assert whole_groups(15, 8) == 1


def test_dropped_groups_give_their_place_back_and_staleness_stays_bounded() -> None:
    """Most groups are dropped; every step still comes, and no trained group was asked for more than η versions ago."""
    source = random.Random(1)
    size, eta, steps, batch = 4, 1, 50, 8
    version, accepted = 0, 0
    running: list[int] = []
    waiting: list[int] = []
    for _ in range(10_000):
        room = capacity(
            max_concurrent=64, running=len(running) * size, staleness=eta, version=version,
            batch=batch, accepted=accepted + len(waiting) * size, steps=steps,
        )  # fmt: skip
        running += [version] * whole_groups(room, size)
        if running:
            asked_at = running.pop(0)
            if source.random() > 0.7:
                waiting.append(asked_at)
        if len(waiting) * size >= batch:
            trained, waiting = waiting[: batch // size], waiting[batch // size :]
            assert all(version - asked_at <= eta for asked_at in trained)
            accepted += batch
            version += 1
        if version == steps:
            break
    assert version == steps
    assert not running and not waiting
