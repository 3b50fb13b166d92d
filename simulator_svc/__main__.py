"""Wires the patient's server: python -m simulator_svc."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel
from service_kit.grpc.serving import run_service, serve
from service_kit.settings import load_settings
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.language import DEPENDENCY, INFERENCE, FrozenLanguageModel
from simulator_svc.patient import Patient
from simulator_svc.server import SERVICE, PatientSimulator
from simulator_svc.settings import SimulatorSettings


async def main() -> None:
    settings = load_settings(SimulatorSettings, "simulator")
    library = CaseLibrary.load(settings.case_directory)
    channel = open_channel(
        settings.inference_frozen_target,
        idempotent={INFERENCE: ["GenerateBatch", "Choose"]},
        tls=settings.tls,
        peer=DEPENDENCY,
        health_of=INFERENCE,
    )
    language = FrozenLanguageModel(
        inference_pb2_grpc.InferenceServiceStub(channel),
        inference_pb2.PRIORITY_CONSULTATION,
        settings.draft_seconds,
        settings.embed_seconds,
    )

    def register(server: grpc.aio.Server) -> Sequence[str]:
        servicer = PatientSimulator(library, Patient(language, settings.patient))
        simulator_pb2_grpc.add_PatientSimulatorServiceServicer_to_server(servicer, server)
        return [SERVICE]

    async def close() -> None:
        await channel.close(None)

    await serve(settings, "simulator", register, close=close)


if __name__ == "__main__":
    run_service(main())
