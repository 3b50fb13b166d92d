"""Replicas of the inference service in this process, each with a port of its own; a test says what they answer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from anamnesis.inference.v1 import inference_pb2_grpc


class InferenceReplica(inference_pb2_grpc.InferenceServiceServicer):
    """What a test does not answer is UNIMPLEMENTED, as the generated base says."""

    def __init__(self) -> None:
        self.server = grpc.aio.server()
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(self, self.server)
        self.target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"


@asynccontextmanager
async def serving(replicas: Sequence[InferenceReplica]) -> AsyncIterator[None]:
    for replica in replicas:
        await replica.server.start()
    yield
    for replica in replicas:
        await replica.server.stop(0)
