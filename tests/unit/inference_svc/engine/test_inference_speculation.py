"""When speculation pays, and what turns it off and on again."""

from __future__ import annotations

import pytest

from inference_svc.engine.speculation import BLOCK_STEPS, SETTLING_STEPS, WINDOW_ROUNDS, SpeculationWatch


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(break_even: float | None = 1.0, rest: float = 60.0) -> tuple[SpeculationWatch, Clock]:
    clock = Clock()
    return SpeculationWatch(break_even, rest, clock), clock


def play(subject: SpeculationWatch, accepted: int, rounds: int = WINDOW_ROUNDS) -> None:
    for _ in range(rounds):
        subject.step(0.01, rounds=1, accepted=accepted, alone=True)


def test_it_goes_on_while_it_accepts_more_than_the_break_even() -> None:
    subject, _ = watch(1.0)
    play(subject, accepted=2)
    assert subject.proposes
    assert (subject.state.accepted_per_round, subject.state.turned_off) == (2.0, 0)


def test_below_the_break_even_it_turns_itself_off_once_a_whole_window_says_so() -> None:
    subject, _ = watch(1.0)
    play(subject, accepted=0, rounds=WINDOW_ROUNDS - 1)
    assert subject.proposes
    play(subject, accepted=0, rounds=1)
    assert not subject.proposes
    assert (subject.state.active, subject.state.turned_off) == (False, 1)


def test_an_acceptance_that_drops_later_is_not_hidden_by_a_good_beginning() -> None:
    subject, _ = watch(1.0)
    play(subject, accepted=3, rounds=20 * WINDOW_ROUNDS)
    play(subject, accepted=0)
    assert not subject.proposes


def test_after_its_rest_it_is_tried_again_and_may_turn_off_again() -> None:
    subject, clock = watch(1.0, rest=60.0)
    play(subject, accepted=0)
    clock.now = 59.0
    assert not subject.proposes
    clock.now = 61.0
    assert subject.proposes
    play(subject, accepted=0)
    assert not subject.proposes
    assert subject.state.turned_off == 2


def test_without_a_rest_it_stays_off() -> None:
    subject, clock = watch(1.0, rest=0.0)
    play(subject, accepted=0)
    clock.now = 1e9
    assert not subject.proposes


@pytest.mark.parametrize(("round_seconds", "break_even"), [(0.015, 0.5), (0.03, 2.0), (0.008, 0.0)])
def test_the_break_even_is_what_a_round_costs_more_than_a_step(round_seconds: float, break_even: float) -> None:
    subject, _ = watch(None)
    seen = set()
    while subject.state.break_even is None:
        proposed = subject.proposes
        seen.add(proposed)
        subject.step(round_seconds if proposed else 0.01, rounds=int(proposed), accepted=0, alone=True)
    assert seen == {True, False}
    assert subject.state.break_even == pytest.approx(break_even)
    assert subject.proposes, "what was measured before decides nothing"


def test_rare_rounds_are_held_against_the_plain_steps_of_their_own_minute() -> None:
    subject, _ = watch(None)
    steps = 0
    while subject.state.break_even is None:
        steps += 1
        found = subject.proposes and steps % 10 == 5
        busy = 10 if steps < 250 else 1
        subject.step((0.02 if found else 0.01) * busy, rounds=int(found), accepted=0, alone=True)
    assert steps > 400, "the plain steps alone would have been enough long before"
    assert subject.state.break_even == pytest.approx(1.0)


def test_steps_that_are_not_alone_or_had_nothing_to_propose_measure_nothing() -> None:
    subject, _ = watch(None)
    for _ in range(40 * (BLOCK_STEPS + SETTLING_STEPS)):
        subject.step(5.0, rounds=4 if subject.proposes else 0, accepted=0, alone=False)
        subject.step(0.01, rounds=0, accepted=0, alone=True)
    assert subject.state.break_even is None


def test_the_first_steps_after_a_change_are_left_out() -> None:
    subject, _ = watch(None)
    before, since = True, 0
    while subject.state.break_even is None:
        proposed = subject.proposes
        since = 0 if proposed is not before else since + 1
        before = proposed
        slow = 9.0 if since < SETTLING_STEPS else 0.0
        subject.step((0.02 if proposed else 0.01) + slow, rounds=int(proposed), accepted=0, alone=True)
    assert subject.state.cost == pytest.approx(2.0)
