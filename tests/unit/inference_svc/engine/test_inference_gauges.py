"""Speculation that turns itself off is an event, told once."""

from __future__ import annotations

import logging
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from inference_svc.engine.gauges import EngineGauges
from inference_svc.engine.speculation import SPECULATION, SpeculationState


def stats(state: SpeculationState | None) -> SimpleNamespace:
    """A step's statistics as vLLM gives them."""
    return SimpleNamespace(
        num_running_reqs=1,
        num_waiting_reqs=2,
        num_skipped_waiting_reqs=3,
        kv_cache_usage=0.5,
        prefix_cache_stats=SimpleNamespace(queries=10, hits=4),
        spec_decoding_stats=SimpleNamespace(num_drafts=2, num_draft_tokens=6, num_accepted_tokens=1),
        kv_connector_stats=None if state is None else {SPECULATION: asdict(state)},
    )


def test_turning_off_and_trying_again_are_each_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    on = SpeculationState(True, 1.6, 0.6, 0, None)
    off = SpeculationState(False, 1.6, 0.6, 1, 0.2)
    gauges = EngineGauges()
    with caplog.at_level(logging.INFO):
        for state in (on, on, off, off, SpeculationState(True, 1.6, 0.6, 1, 0.2)):
            gauges.take(stats(state))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert vars(caplog.records[0])["accepted_per_round"] == 0.2
    assert (gauges.rounds, gauges.drafted, gauges.accepted) == (10, 30, 5)


def test_an_engine_without_it_says_nothing_of_it() -> None:
    gauges = EngineGauges()
    gauges.take(stats(None))
    assert gauges.speculation is None
    assert (gauges.running, gauges.waiting, gauges.prefix_hits) == (1, 5, 4)


def test_only_a_step_that_gave_a_token_is_told() -> None:
    gauges, told = EngineGauges(), list[str]()
    gauges.tokens_came = lambda: told.append("came")
    pytest.importorskip("vllm")
    logger = gauges.stat_logger()(None)
    for tokens in (0, 3):
        logger.record(None, SimpleNamespace(num_generation_tokens=tokens), mm_cache_stats=None, engine_idx=0)
    logger.record(stats(None), None)
    assert told == ["came"]
