"""A prefix stays with its replica, and only what must move moves."""

from collections import Counter

from service_kit.grpc.affinity import Affinity, ranked

REPLICAS = ["10.0.0.1:7104", "10.0.0.2:7104", "10.0.0.3:7104"]
PREFIXES = [f"dialogue {number}" for number in range(3000)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _affinity(clock: Clock | None = None, overload: int = 4) -> Affinity:
    return Affinity(overload=overload, rest_seconds=10.0, clock=clock or Clock())


def test_a_prefix_goes_to_the_same_replica_whatever_the_order_of_addresses() -> None:
    affinity = _affinity()
    for prefix in PREFIXES[:200]:
        assert affinity.home(prefix, REPLICAS) == affinity.home(prefix, REPLICAS[::-1]) == ranked(prefix, REPLICAS)[0]


def test_prefixes_spread_evenly_over_the_replicas() -> None:
    affinity = _affinity()
    counts = Counter(affinity.home(prefix, REPLICAS) for prefix in PREFIXES)
    assert all(900 < counts[replica] < 1100 for replica in REPLICAS)


def test_only_the_prefixes_of_a_replica_that_goes_move() -> None:
    affinity = _affinity()
    before = {prefix: affinity.home(prefix, REPLICAS) for prefix in PREFIXES}
    after = {prefix: affinity.home(prefix, REPLICAS[:2]) for prefix in PREFIXES}
    assert all(before[prefix] in (after[prefix], REPLICAS[2]) for prefix in PREFIXES)
    assert all(after[prefix] != REPLICAS[2] for prefix in PREFIXES)


def test_a_failed_replica_rests_and_gets_its_own_prefixes_back_afterwards() -> None:
    clock = Clock()
    affinity = _affinity(clock)
    home, second, _ = ranked("a", REPLICAS)
    affinity.failed(home)
    assert affinity.home("a", REPLICAS) == second
    clock.now += 10.0
    assert affinity.home("a", REPLICAS) == home


def test_an_answer_ends_the_rest() -> None:
    affinity = _affinity()
    home = ranked("a", REPLICAS)[0]
    affinity.failed(home)
    affinity.answered(home)
    assert affinity.home("a", REPLICAS) == home


def test_where_all_rest_the_ranking_decides() -> None:
    affinity = _affinity()
    for replica in REPLICAS:
        affinity.failed(replica)
    assert affinity.home("a", REPLICAS) == ranked("a", REPLICAS)[0]


def test_an_overloaded_replica_passes_the_prefix_to_the_next_and_takes_it_back() -> None:
    affinity = _affinity(overload=4)
    home, second, _ = ranked("a", REPLICAS)
    with affinity.carrying(home, 4):
        assert affinity.home("a", REPLICAS) == second
        with affinity.carrying(second, 3):
            assert affinity.home("a", REPLICAS) == second
    assert affinity.home("a", REPLICAS) == home


def test_what_was_tried_is_not_tried_again() -> None:
    home, second, _ = ranked("a", REPLICAS)
    assert _affinity().home("a", REPLICAS, but=[home]) == second
