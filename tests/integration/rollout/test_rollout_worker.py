"""The worker on a real broker. Inference and rubric are servers that fail on command; nothing else is injected."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace

from anamnesis.common.v1.rollout_pb2 import RolloutRequest, Trajectory
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.rollout.__main__ import Process
from simulator_svc.rollout.settings import RolloutSettings
from tests.integration.rollout.rollout_servers import FaultyServers, faulty_servers
from tests.integration.rollout.rollout_traffic import Traffic, consultations, fragments, new_run, state_of

CASES = [case.case_id for case in CaseLibrary.load().list()]


@pytest.fixture(scope="module")
def traffic(broker: str) -> Iterator[Traffic]:
    traffic = Traffic(broker)
    yield traffic
    traffic.close()


@pytest.fixture
async def servers() -> AsyncIterator[FaultyServers]:
    async with faulty_servers() as servers:
        yield servers


@asynccontextmanager
async def worker(broker: str, servers: FaultyServers, **settings: Any) -> AsyncIterator[Process]:
    given = {
        "kafka": {"bootstrap": broker},
        "inference_policy_target": servers.target,
        "inference_frozen_target": servers.target,
        "rubric_target": servers.target,
        "patient": {"draft_share": 0},  # the servers' calls are the doctor's alone
        **settings,
    }
    process = Process(RolloutSettings.model_validate(given))
    await process.start()
    try:
        yield process
    finally:
        await process.close()


async def play(
    traffic: Traffic, servers: FaultyServers, requests: Sequence[RolloutRequest], seconds: float = 60, **settings: Any
) -> list[Trajectory]:
    traffic.publish(requests)
    async with worker(traffic.settings.bootstrap, servers, **settings):
        return await asyncio.to_thread(traffic.terminal, requests, seconds)


async def test_each_request_has_exactly_one_terminal_record(traffic: Traffic, servers: FaultyServers) -> None:
    run = new_run()
    requests = consultations(run, CASES, 8) + fragments(run, CASES, 8)
    records = await play(traffic, servers, requests)
    assert Counter(record.request.request_id for record in records) == Counter(r.request_id for r in requests)
    assert {state_of(record)[0] for record in records} == {"COMPLETED"}
    assert len({record.trajectory_id for record in records}) == 16


@pytest.mark.parametrize("fault", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, "aborted"])
async def test_a_policy_that_fails_for_a_while_costs_no_episode(
    traffic: Traffic, servers: FaultyServers, fault: grpc.StatusCode | str
) -> None:
    servers.inference.queue.extend([fault] * 6)
    records = await play(traffic, servers, fragments(new_run(), CASES, 4))
    assert [state_of(record) for record in records] == [("COMPLETED", [])] * 4
    assert servers.inference.calls >= 10


@pytest.mark.parametrize(
    ("service", "fault", "end"),
    [
        ("inference", grpc.StatusCode.UNAVAILABLE, ("POLICY_ERROR", ["policy_unavailable"])),
        ("inference", grpc.StatusCode.INVALID_ARGUMENT, ("POLICY_ERROR", ["policy_rejected"])),
        ("inference", "another past", ("POLICY_ERROR", ["policy_inconsistent"])),
        ("rubric", grpc.StatusCode.UNAVAILABLE, ("JUDGE_ERROR", ["judge_unavailable"])),
        ("rubric", grpc.StatusCode.INTERNAL, ("JUDGE_ERROR", ["judge_failed"])),
        ("rubric", "void", ("JUDGE_ERROR", ["score_void"])),
    ],
)
async def test_a_failure_that_stays_is_a_record_that_says_whose_it_is(
    traffic: Traffic, servers: FaultyServers, service: str, fault: grpc.StatusCode | str, end: tuple[str, list[str]]
) -> None:
    getattr(servers, service).always = fault
    records = await play(traffic, servers, consultations(new_run(), CASES, 1), patience_seconds=0.5)
    assert [state_of(record) for record in records] == [end]


async def test_a_slow_policy_ends_with_its_deadline(traffic: Traffic, servers: FaultyServers) -> None:
    servers.inference.delay = 5
    records = await play(traffic, servers, fragments(new_run(), CASES, 1), deadlines={"doctor_turn": 0.3})
    assert state_of(records[0]) == ("POLICY_ERROR", ["policy_deadline_exceeded"])


async def test_no_patience_goes_past_the_requests_own_time(traffic: Traffic, servers: FaultyServers) -> None:
    servers.inference.always = grpc.StatusCode.UNAVAILABLE
    records = await play(traffic, servers, fragments(new_run(), CASES, 1, seconds=3), patience_seconds=120)
    assert state_of(records[0]) == ("EXPIRED", ["expired_in_play"])


async def test_poison_is_answered_or_put_aside_and_the_next_request_is_played(
    traffic: Traffic, servers: FaultyServers
) -> None:
    run = new_run()
    unknown, wrong, nameless, good = fragments(run, CASES, 4)
    unknown.context.fragment.case.case_id = "no-such-case"
    wrong.sampling.max_tokens = 0
    nameless.request_id = ""
    before = traffic.dead_letters()
    traffic.publish([unknown, wrong, nameless])
    traffic.publish_bytes(b"\xff\xff no protobuf")
    records = await play(traffic, servers, [good])
    ends = {record.request.request_id: state_of(record) for record in records}
    assert ends == {
        unknown.request_id: ("INVALID", ["invalid:context.fragment.case.case_id"]),
        wrong.request_id: ("INVALID", ["invalid:sampling.max_tokens"]),
        good.request_id: ("COMPLETED", []),
    }
    assert traffic.dead_letters() == before + 2


async def test_no_more_is_taken_than_is_played(traffic: Traffic, servers: FaultyServers) -> None:
    servers.inference.delay = 0.05
    await play(traffic, servers, fragments(new_run(), CASES, 12), concurrency=3)
    assert servers.inference.most_at_once == 3


async def test_what_was_played_before_a_stop_is_not_played_again(traffic: Traffic, servers: FaultyServers) -> None:
    requests = fragments(new_run(), CASES, 6)
    await play(traffic, servers, requests)
    played = servers.inference.calls
    records = await play(traffic, servers, fragments(new_run(), CASES, 1))
    assert len(records) == 1
    assert servers.inference.calls == played + 1


async def test_a_stop_lets_what_is_played_finish(traffic: Traffic, servers: FaultyServers) -> None:
    servers.inference.delay = 0.4
    requests = consultations(new_run(), CASES, 4)
    traffic.publish(requests)
    async with worker(traffic.settings.bootstrap, servers):
        while servers.inference.calls < 4:
            await asyncio.sleep(0.05)
    records = await asyncio.to_thread(traffic.terminal, requests, 10)
    assert len(records) == 4


async def test_two_workers_share_and_nothing_is_lost(traffic: Traffic, servers: FaultyServers) -> None:
    servers.inference.delay = 0.1
    requests = consultations(new_run(), CASES, 48)
    traffic.publish(requests)
    broker = traffic.settings.bootstrap
    async with worker(broker, servers, concurrency=4):
        while servers.inference.calls < 8:
            await asyncio.sleep(0.05)
        async with worker(broker, servers, concurrency=4, instance="another"):
            records = await asyncio.to_thread(traffic.terminal, requests, 120)
    ids: dict[str, set[str]] = {}
    for record in records:
        ids.setdefault(record.request.request_id, set()).add(record.trajectory_id)
    assert all(len(of_request) == 1 for of_request in ids.values())
    assert servers.inference.most_at_once > 4


async def test_a_record_goes_on_with_its_requests_trace(traffic: Traffic, servers: FaultyServers) -> None:
    run = new_run()
    with trace.get_tracer(__name__).start_as_current_span("request") as span:
        traffic.publish(fragments(run, CASES, 1))
        wanted = span.get_span_context().trace_id
    async with worker(traffic.settings.bootstrap, servers):
        (record,) = await asyncio.to_thread(traffic.records, run, lambda found: len(found) == 1, 30)
    assert trace.get_current_span(record.context).get_span_context().trace_id == wanted


@asynccontextmanager
async def worker_process(broker: str, servers: FaultyServers, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m simulator_svc.rollout`, killed at the end if it still runs."""
    environment = {
        **os.environ,
        "ANAMNESIS_ROLLOUT_GRPC_PORT": "0",
        "ANAMNESIS_ROLLOUT_KAFKA__BOOTSTRAP": broker,
        "ANAMNESIS_ROLLOUT_INFERENCE_POLICY_TARGET": servers.target,
        "ANAMNESIS_ROLLOUT_INFERENCE_FROZEN_TARGET": servers.target,
        "ANAMNESIS_ROLLOUT_RUBRIC_TARGET": servers.target,
        "ANAMNESIS_ROLLOUT_PATIENT__DRAFT_SHARE": "0",
        "ANAMNESIS_ROLLOUT_CONCURRENCY": "4",
    }
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulator_svc.rollout", env=environment, stderr=stderr
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def until_calls(servers: FaultyServers, calls: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while servers.inference.calls < calls:
        assert time.monotonic() < until, f"{servers.inference.calls} calls"
        await asyncio.sleep(0.02)


async def test_a_worker_killed_in_mid_play_loses_nothing(
    traffic: Traffic, servers: FaultyServers, tmp_path: Path
) -> None:
    servers.inference.delay = 0.3
    requests = consultations(new_run(), CASES, 12)
    traffic.publish(requests)
    broker = traffic.settings.bootstrap
    async with worker_process(broker, servers, tmp_path / "first.log") as first:
        await until_calls(servers, 14)  # some have finished, some are under way, some were never taken
        first.kill()
        await first.wait()
    servers.inference.delay = 0.02
    async with worker_process(broker, servers, tmp_path / "second.log"):
        records = await asyncio.to_thread(traffic.terminal, requests, 120)
    ids: dict[str, set[str]] = {}
    for record in records:
        assert state_of(record) == ("COMPLETED", [])
        ids.setdefault(record.request.request_id, set()).add(record.trajectory_id)
    assert len(ids) == 12 and all(len(of_request) == 1 for of_request in ids.values())


async def test_sigterm_drains_commits_and_exits_with_zero(
    traffic: Traffic, servers: FaultyServers, tmp_path: Path
) -> None:
    servers.inference.delay = 0.2
    requests = consultations(new_run(), CASES, 12)
    traffic.publish(requests)
    broker = traffic.settings.bootstrap
    async with worker_process(broker, servers, tmp_path / "first.log") as first:
        await until_calls(servers, 6)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 30) == 0
    played = servers.inference.calls
    assert played < 36  # the rest was left
    async with worker_process(broker, servers, tmp_path / "second.log"):
        records = await asyncio.to_thread(traffic.terminal, requests, 60)
    assert len(records) == 12  # no request was played twice
