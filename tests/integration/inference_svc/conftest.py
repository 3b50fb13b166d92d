"""Stubs for the stack's two inference deployments, and the reference model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1 import inference_pb2_grpc
from service_kit.grpc.channel import open_channel
from tests.integration.inference_svc.reference_model import TOLERANCE, ReferenceModel

if TYPE_CHECKING:
    from tests.conftest import RunningStack

MODEL = "models/smollm2-135m-instruct"


@pytest.fixture(scope="session")
def model_directory(stack: RunningStack) -> Path:
    return stack.state_dir / MODEL


@pytest.fixture(scope="session")
async def policy(stack: RunningStack) -> AsyncIterator[inference_pb2_grpc.InferenceServiceStub]:
    async with open_channel(stack.targets["inference-policy"]) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)


@pytest.fixture(scope="session")
async def frozen(stack: RunningStack) -> AsyncIterator[inference_pb2_grpc.InferenceServiceStub]:
    async with open_channel(stack.targets["inference-frozen"]) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)


@pytest.fixture(scope="module")
def reference(model_directory: Path) -> Iterator[ReferenceModel]:
    yield ReferenceModel(model_directory)


@pytest.fixture(scope="session")
async def tolerance(frozen: inference_pb2_grpc.InferenceServiceStub) -> float:
    models = await frozen.ListModels(pb.ListModelsRequest(), timeout=20)
    return TOLERANCE[models.models[0].dtype]
