"""Ten thousand fuzzed Respond calls to a simulator whose engine is dead: each is answered or refused for a reason the
caller can act on, none is a bug (UNKNOWN, INTERNAL), and the process does not grow.

The calls are made from a seed, so a failure can be played again. Half are built from the contract's own fields with
values that nobody would send; a quarter are real questions about real cases, bent; a quarter are valid requests of
which bytes were changed so that they still parse.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import grpc
import psutil
import pytest
from google.protobuf.message import DecodeError

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel
from simulator_svc import mapping
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.evaluate.doctors.attacks import attacks
from simulator_svc.personas.sample import sample_persona

CALLS = 10_000
WARM_UP = 4_000
AT_ONCE = 16
SEED = 20_241
NOBODY_LISTENS = "127.0.0.1:9"
# What a call may come back with beside an answer.
EXPECTED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
GROWTH = 1.15
START_SECONDS = 60.0
CALL_SECONDS = 30.0

LIBRARY = CaseLibrary.load().list()
LETTERS = "aeiou tnsr.?!,;:'\"\n\t0123456789%/-()[]{}<>\\\u0000\u200b\u202e\u00e9\u0430\u4e2d\U0001f600"


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_no_input_makes_the_simulator_fail_or_grow(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    async with simulator_process(tmp_path) as (stub, process):
        requests = fuzzed(Random(SEED))
        await _call_all(stub, requests, WARM_UP, outcomes)
        before = process.memory_info().rss
        await _call_all(stub, requests, CALLS - WARM_UP, outcomes)
        after = process.memory_info().rss
    print(f"{dict(outcomes)}; {before / 2**20:.0f} MiB after {WARM_UP} calls, {after / 2**20:.0f} MiB at the end")
    assert outcomes.total() == CALLS
    assert set(outcomes) <= {"OK", *(code.name for code in EXPECTED)}
    assert outcomes["OK"] > CALLS / 4, "the fuzz is refused at the door and tests nothing behind it"
    assert after <= GROWTH * before


async def _call_all(
    stub: simulator_pb2_grpc.PatientSimulatorServiceStub,
    requests: Iterator[pb.RespondRequest],
    count: int,
    outcomes: Counter[str],
) -> None:
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            request = next(requests)
            try:
                response = await stub.Respond(request, timeout=CALL_SECONDS)
                assert response.reply
                outcomes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
                assert error.code() in EXPECTED, f"{error.code()}: {error.details()}\n{request}"

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(caller())


def fuzzed(random: Random) -> Iterator[pb.RespondRequest]:
    while True:
        kind = random.random()
        if kind < 0.5:
            yield _senseless(random)
        elif kind < 0.75:
            yield _bent(random)
        else:
            yield _mutated(random)


def _senseless(random: Random) -> pb.RespondRequest:
    case = patient_pb2.PatientCase(
        case_id="a" + "".join(random.choices("bc0123-_.", k=random.randint(0, 12))),
        title=_text(random),
        age_years=random.choice([0, 1, 40, 130, 131]),
        sex=random.randint(0, 3),  # type: ignore[arg-type]
        diagnosis_names=[_text(random) for _ in range(random.randint(0, 3))],
        facts=[
            patient_pb2.Fact(
                fact_id=f"f{random.randint(0, 30)}",
                category=random.randint(1, 22),  # type: ignore[arg-type]
                text=_text(random) or "x",
                disclosure=random.randint(1, 4),  # type: ignore[arg-type]
                spoken=_text(random),
                cues=[_text(random)[:100] for _ in range(random.randint(0, 3))],
            )
            for _ in range(random.randint(0, 6))
        ],
    )
    reference = patient_pb2.CaseReference(inline=case)
    if random.random() < 0.5:
        reference = patient_pb2.CaseReference(case_id=random.choice(LIBRARY).case_id)
    return pb.RespondRequest(
        case=reference,
        persona=_persona(random),
        seed=random.getrandbits(64),
        dialogue=dialogue_pb2.Dialogue(
            messages=[
                dialogue_pb2.Message(role=random.choice([1, 2, 3, 3]), content=_text(random))  # type: ignore[arg-type]
                for _ in range(random.randint(0, 6))
            ]
        ),
        max_doctor_turns=random.choice([0, 0, 1, 64, 65]),
    )


def _bent(random: Random) -> pb.RespondRequest:
    """A doctor's real words, or an attacker's, with letters changed."""
    case = random.choice(LIBRARY)
    words = random.choice([*(attack.text for attack in attacks(case)), *(fact.text for fact in case.facts)])[:4000]
    letters = list(words)
    for _ in range(random.randint(0, 1 + len(letters) // 20)):
        letters.insert(random.randint(0, len(letters)), random.choice(LETTERS))
    return _request(case.case_id, "".join(letters), random)


def _mutated(random: Random) -> pb.RespondRequest:
    """A valid request, one byte in a hundred changed; parsed again, for a message that does not parse never arrives."""
    case = random.choice(LIBRARY)
    whole = _request(case.case_id, "When did it start, and where is it?", random)
    whole.case.inline.CopyFrom(mapping.case_to_proto(case))
    encoded = whole.SerializeToString()
    while True:
        changed = bytearray(encoded)
        for _ in range(random.randint(1, max(1, len(changed) // 100))):
            changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            return pb.RespondRequest.FromString(bytes(changed))
        except DecodeError:
            continue


def _request(case_id: str, words: str, random: Random) -> pb.RespondRequest:
    return pb.RespondRequest(
        case=patient_pb2.CaseReference(case_id=case_id),
        persona=_persona(random),
        seed=random.getrandbits(64),
        dialogue=dialogue_pb2.Dialogue(
            messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=words)]
        ),
    )


def _persona(random: Random) -> patient_pb2.Persona:
    persona = mapping.persona_to_proto(sample_persona(random.getrandbits(32)))
    if random.random() < 0.2:
        persona.occupation, persona.region = _text(random)[:130], _text(random)[:130]
    return persona


def _text(random: Random) -> str:
    if random.random() < 0.02:
        return random.choice(LETTERS) * random.randint(1000, 30_000)
    return "".join(random.choices(LETTERS, k=random.choice([0, 1, 5, 30, 200])))


@asynccontextmanager
async def simulator_process(
    directory: Path,
) -> AsyncIterator[tuple[simulator_pb2_grpc.PatientSimulatorServiceStub, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")} | {
        "ANAMNESIS_SIMULATOR_GRPC_PORT": str(port),
        "ANAMNESIS_SIMULATOR_STATE_DIR": str(directory),
        "ANAMNESIS_SIMULATOR_INFERENCE_FROZEN_TARGET": NOBODY_LISTENS,
        "ANAMNESIS_SIMULATOR_DRAFT_SECONDS": "1",
    }
    with (directory / "simulator.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "simulator_svc"], env=environment, stdout=log, stderr=log)
    channel = open_channel(f"127.0.0.1:{port}")
    try:
        await asyncio.wait_for(channel.channel_ready(), START_SECONDS)
        yield simulator_pb2_grpc.PatientSimulatorServiceStub(channel), psutil.Process(process.pid)
    finally:
        await channel.close(None)
        process.kill()
        process.wait()
