"""Offsets: what may be committed is the contiguous prefix of finished requests."""

from __future__ import annotations

import random

from simulator_svc.rollout.commits import CommitTracker


def taken(*offsets: int, partition: int = 0) -> CommitTracker:
    tracker = CommitTracker()
    for offset in offsets:
        tracker.take(partition, offset)
    return tracker


def test_nothing_is_committable_while_the_first_request_is_played() -> None:
    tracker = taken(5, 6, 7)
    tracker.finish(0, 6)
    tracker.finish(0, 7)
    assert tracker.committable() == {0: 5}
    tracker.committed({0: 5})
    assert tracker.committable() == {}


def test_the_prefix_grows_over_what_finished_out_of_order() -> None:
    tracker = taken(5, 6, 7)
    tracker.finish(0, 6)
    tracker.finish(0, 5)
    assert tracker.committable() == {0: 7}
    tracker.committed({0: 7})
    tracker.finish(0, 7)
    assert tracker.committable() == {0: 8}


def test_offsets_that_never_came_out_of_the_poll_do_not_hold_the_prefix() -> None:
    tracker = taken(5, 9)  # 6 to 8 went to the dead letters
    tracker.finish(0, 5)
    assert tracker.committable() == {0: 9}
    tracker.finish(0, 9)
    assert tracker.committable({0: 12}) == {0: 12}


def test_a_position_ahead_of_an_open_request_is_not_committed() -> None:
    tracker = taken(5)
    assert tracker.committable({0: 9}) == {0: 5}


def test_a_partition_with_dead_letters_alone_moves_on() -> None:
    assert CommitTracker().committable({3: 4}) == {3: 4}


def test_partitions_are_apart() -> None:
    tracker = taken(1, 2, partition=0)
    tracker.take(1, 7)
    tracker.finish(1, 7)
    assert tracker.committable() == {0: 1, 1: 8}


def test_a_revoked_partition_is_not_committed_any_more() -> None:
    tracker = taken(1, 2)
    tracker.finish(0, 1)
    tracker.revoke([0])
    tracker.finish(0, 2)
    assert tracker.committable() == {}
    assert tracker.unfinished() == 0


def test_a_partition_that_comes_back_starts_from_what_is_delivered_again() -> None:
    tracker = taken(1, 2)
    tracker.revoke([0])
    assert tracker.take(0, 1)
    assert tracker.take(0, 2)
    tracker.finish(0, 1)
    assert tracker.committable() == {0: 2}


def test_any_order_of_finishing_commits_no_open_request_and_ends_with_all() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        offsets = sorted(chance.sample(range(200), 60))
        tracker, finished, committed = taken(*offsets), set[int](), 0
        for offset in chance.sample(offsets, len(offsets)):
            finished.add(offset)
            tracker.finish(0, offset)
            ready = tracker.committable()
            assert all(o in finished for o in offsets if o < ready.get(0, 0))
            if chance.random() < 0.3:
                tracker.committed(ready)
                committed = max(committed, ready.get(0, 0))
        assert tracker.committable().get(0, committed) == offsets[-1] + 1


def test_what_was_finished_and_comes_again_after_a_rebalance_is_not_played_again() -> None:
    tracker = taken(5, 6, 7)
    tracker.finish(0, 6)
    tracker.revoke([0])
    tracker.finish(0, 7)  # it was still played when the partition went
    assert [tracker.take(0, offset) for offset in (5, 6, 7, 8)] == [True, False, False, True]
    tracker.finish(0, 5)
    assert tracker.committable() == {0: 8}


def test_what_another_worker_has_committed_meanwhile_is_forgotten() -> None:
    tracker = taken(5, 6)
    tracker.finish(0, 6)
    tracker.revoke([0])
    assert tracker.take(0, 9)  # the group is past them
    tracker.revoke([0])
    assert tracker.take(0, 6)
