"""Wires the inference service: python -m inference_svc. Deployment and port come from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from anamnesis.inference.v1 import inference_pb2_grpc
from inference_svc.engine.environment import configure_environment
from inference_svc.settings import Deployment, InferenceSettings
from service_kit.grpc.serving import run_service, serve
from service_kit.settings import end_with, load_settings


async def main(settings: InferenceSettings) -> None:
    # After the environment is set: these may import torch and vllm.
    from inference_svc.embed import Embedder
    from inference_svc.engine.engine import Engine
    from inference_svc.server import SERVICE, InferenceServicer
    from inference_svc.service import TextService
    from inference_svc.telemetry.measures import Measures
    from inference_svc.tokens import PromptAssembler
    from inference_svc.weights.store import WeightStore
    from inference_svc.weights.updater import WeightUpdater

    engine = Engine(settings)
    servicer = InferenceServicer(settings)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
        return [SERVICE]

    async def prepare() -> None:
        await engine.start()
        assembler = PromptAssembler.load(settings.model_directory())
        measures = Measures(settings.deployment, engine.gauges)
        servicer.text = TextService(engine, assembler, settings.served_model(), settings.max_unfinished, measures)
        if settings.deployment is Deployment.FROZEN:
            servicer.embedder = Embedder(settings.embedding_directory(), settings.embedding_threads)
        else:
            directory = settings.model_directory()
            store = await asyncio.to_thread(
                WeightStore, settings.weight_store(), directory, settings.served_model(), settings.merged_weights()
            )
            servicer.updater = WeightUpdater(engine, store, directory, measures.updated)
            await servicer.updater.load_current()
        await engine.warm_up()

    async def close() -> None:
        if servicer.updater is not None:
            await servicer.updater.close()
        if servicer.embedder is not None:
            servicer.embedder.close()
        engine.stop()

    await serve(
        settings, f"inference-{settings.deployment}", register, prepare=prepare, close=close, failure=engine.death
    )


def refuse_impossible(settings: InferenceSettings) -> None:
    """Ends the process as wrong settings do, before anything is loaded."""
    from inference_svc.profiles.possible import Machine, impossible

    problems = impossible(settings, Machine.found())
    if problems:
        end_with(problems, "inference")


if __name__ == "__main__":
    settings = load_settings(InferenceSettings, "inference")
    configure_environment(settings)
    refuse_impossible(settings)
    run_service(main(settings))
