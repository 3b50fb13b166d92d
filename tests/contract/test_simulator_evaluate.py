"""`anamnesis simulator evaluate` against a simulator that runs, with a dead engine behind it, and against none."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel
from service_kit.grpc.server import GrpcServer
from simulator_svc.cases.library import BUILT_IN, CaseLibrary
from simulator_svc.language import FrozenLanguageModel
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.server import SERVICE, PatientSimulator
from simulator_svc.settings import SimulatorSettings

NOBODY_LISTENS = "127.0.0.1:9"
COMMAND_SECONDS = 120.0
ONE_CASE = ("--cases", str(BUILT_IN / "migraine-aura.toml"), "--turns", "5", "--each", "2")


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[str]:
    inference = open_channel(NOBODY_LISTENS)
    language = FrozenLanguageModel(
        inference_pb2_grpc.InferenceServiceStub(inference), inference_pb2.PRIORITY_CONSULTATION, 2.0
    )

    def register(server: grpc.aio.Server) -> Sequence[str]:
        patient = PatientSimulator(CaseLibrary.load(), Patient(language, PatientSettings()))
        simulator_pb2_grpc.add_PatientSimulatorServiceServicer_to_server(patient, server)
        return [SERVICE]

    server = GrpcServer(SimulatorSettings(grpc_port=0), "simulator", register)
    port = await server.start()
    await server.ready()
    yield f"127.0.0.1:{port}"
    await inference.close(None)
    await server.drain(1)


async def evaluate(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("anamnesis"), "simulator", "evaluate", *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "140"},
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    return process.returncode or 0, output.decode(), errors.decode()


async def test_prints_a_table_and_writes_json_and_a_picture(simulator: str, tmp_path: Path) -> None:
    measured, picture = tmp_path / "measured.json", tmp_path / "plot.png"
    code, output, errors = await evaluate(
        *ONE_CASE, "--target", simulator, "--json", str(measured), "--plot", str(picture)
    )
    assert code == 0, errors
    assert "Privacy" in output and "answer recall" in output
    served = json.loads(measured.read_text(encoding="utf-8"))["served"]
    assert served["consultations"] == 2 and served["turns"] == 12 and served["diagnosis_named"] == 0
    assert served["broken"] == {}
    assert picture.read_bytes().startswith(b"\x89PNG")


async def test_attackers_get_no_diagnosis_and_an_ablation_compares(simulator: str, tmp_path: Path) -> None:
    measured = tmp_path / "measured.json"
    code, _, errors = await evaluate(*ONE_CASE, "--target", simulator, "--doctor", "attacks", "--json", str(measured))
    assert code == 0, errors
    assert json.loads(measured.read_text(encoding="utf-8"))["served"]["diagnosis_named"] == 0
    code, output, errors = await evaluate(
        *ONE_CASE, "--frozen", NOBODY_LISTENS, "--ablate", "model", "--ablate", "gate"
    )
    assert code == 0, errors
    assert all(condition in output for condition in ("whole", "no model", "no gate"))


async def test_without_a_service_it_says_so_and_fails() -> None:
    code, _, errors = await evaluate(*ONE_CASE, "--target", NOBODY_LISTENS)
    assert code == 1
    assert NOBODY_LISTENS in errors and "make up" in errors and "Traceback" not in errors
