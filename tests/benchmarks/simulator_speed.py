"""The parts of `make bench-simulator` that compare within one run: many at once against one after the other, the units'
time against the engine's, the patient with and without each unit, and the canned one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.grpc.channel import open_channel
from simulator_svc.cases.model import Case
from simulator_svc.evaluate.choices import Unit
from simulator_svc.evaluate.conditions import patient_without
from simulator_svc.evaluate.engagements import scripted
from simulator_svc.evaluate.measure import Scored, score
from simulator_svc.evaluate.patients import LocalPatient, PatientUnderTest
from simulator_svc.evaluate.play import Consultation, Engagement, play
from simulator_svc.language import FrozenLanguageModel
from simulator_svc.patient import Patient, PatientSettings

AT_ONCE = 32
TURNS = 5
SEQUENTIAL = 6
# So late that no draft is given up while the engine is busy with other consultations.
DRAFT_SECONDS = 60.0


async def throughput(patient: PatientUnderTest, cases: Sequence[Case], seed: int, ends_at: float) -> dict[str, Any]:
    """Consultations a minute: a sequential pass, one with 32 at once, a sequential one again; none is played twice."""
    rates: dict[int, list[float]] = {1: [], AT_ONCE: []}
    for number, (at_once, count) in enumerate(((1, SEQUENTIAL), (AT_ONCE, 3 * AT_ONCE), (1, SEQUENTIAL))):
        if time.monotonic() > ends_at:
            return {"speedup_vs_sequential": None}
        some = [cases[(number * 7 + index) % len(cases)] for index in range(count)]
        engagements = scripted(some, seed + 10_000 * (number + 1), turns=TURNS)
        began = time.monotonic()
        played = await play(patient, engagements, at_once=at_once)
        minutes = (time.monotonic() - began) / 60
        rates[at_once].append(sum(not consultation.broken for consultation in played) / minutes)
    alone = sum(rates[1]) / len(rates[1])
    return {
        "speedup_vs_sequential": round(rates[AT_ONCE][0] / alone, 2),
        "consultations_per_minute": round(rates[AT_ONCE][0], 1),
        "sequential_per_minute": round(alone, 1),
    }


async def overhead(targets: Mapping[str, str], cases: Sequence[Case], seed: int) -> dict[str, Any]:
    """The share of a turn's time that is not spent waiting for the engine; one consultation after the other."""
    channel = open_channel(targets["inference-frozen"])
    try:
        stub = TimedStub(inference_pb2_grpc.InferenceServiceStub(channel))
        patient = patient_without(None, _language(stub), PatientSettings())
        engagements = scripted([cases[index % len(cases)] for index in range(8)], seed + 50_000, turns=TURNS)
        played = await play(patient, engagements, at_once=1)
    finally:
        await channel.close(None)
    turns = sum(reply.seconds for consultation in played for _, reply in consultation.turns)
    count = sum(len(consultation.turns) for consultation in played)
    return {
        "unit_overhead": round(1 - stub.seconds / turns, 4) if stub.seconds else None,
        "unit_ms_per_turn": round(1000 * (turns - stub.seconds) / max(1, count), 2),
    }


async def canned(engagements: Sequence[Engagement]) -> dict[str, list[Scored]]:
    """The floors for character and naturalness: the consultations without the model, and without a persona too."""
    patients = {
        "canned": LocalPatient(Patient(None, PatientSettings())),
        "canned, no persona": patient_without(Unit.AFFECT, None, PatientSettings()),
    }
    return {
        name: list(map(score, await play(patient, engagements, at_once=AT_ONCE))) for name, patient in patients.items()
    }


async def ablations(
    targets: Mapping[str, str], cases: Sequence[Case], seed: int, ends_at: float
) -> dict[str, list[Scored]]:
    """The same consultations with the whole patient and without each unit, in this process."""
    channel = open_channel(targets["inference-frozen"])
    found: dict[str, list[Scored]] = {}
    try:
        language = _language(inference_pb2_grpc.InferenceServiceStub(channel))
        for unit in (None, *Unit):
            left = ends_at - time.monotonic()
            if left < 0:
                break
            engagements = scripted(cases[:40], seed + 70_000, turns=6, each=2)
            played: list[Consultation] = await play(
                patient_without(unit, language, PatientSettings()),
                engagements,
                at_once=AT_ONCE,
                until=time.monotonic() + left / 4,
            )
            found[f"no {unit}" if unit else "whole"] = [score(consultation) for consultation in played]
    finally:
        await channel.close(None)
    return found


class TimedStub:
    """InferenceServiceStub, adding up the time in which a call of it is under way."""

    def __init__(self, stub: inference_pb2_grpc.InferenceServiceStub) -> None:
        self._stub = stub
        self._under_way = 0
        self._since = 0.0
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)

        async def timed(request: Any, **options: Any) -> Any:
            if not self._under_way:
                self._since = time.perf_counter()
            self._under_way += 1
            try:
                return await method(request, **options)
            finally:
                self._under_way -= 1
                if not self._under_way:
                    self.seconds += time.perf_counter() - self._since

        return timed


def _language(stub: Any) -> FrozenLanguageModel:
    return FrozenLanguageModel(stub, inference_pb2.PRIORITY_ROLLOUT, DRAFT_SECONDS)
