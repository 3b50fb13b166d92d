"""A gateway that asks for keys: who comes in, who does not, and with which words."""

from __future__ import annotations

from typing import Any

import grpc
import openai
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.auth.keys import KeyStore
from service_kit.errors import Code, ServiceError


async def test_openais_client_needs_a_key_that_is_known_and_not_revoked(start_gateway: Any, inference: Any) -> None:
    gateway = await start_gateway(auth="keys", inference_policy_target=inference.target)
    store = KeyStore(gateway.settings.key_file)
    key, text = store.create("ward 7")
    models = await gateway.openai(text).models.list()
    assert [model.id for model in models.data] == ["doctor"]
    assert (await gateway.openai(text).models.retrieve("doctor")).id == "doctor"
    for wrong in ("sk-something", text + "x", f"anm_{key.key_id}_", "anm_00000000_nothing"):
        with pytest.raises(openai.AuthenticationError) as raised:
            await gateway.openai(wrong).models.list()
        assert raised.value.code == "invalid_api_key"
        assert text not in str(raised.value)
    store.revoke(key.key_id)  # holds at once, without a restart
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        await gateway.openai(text).models.list()


async def test_grpc_needs_a_key_and_says_what_is_wrong_with_it(start_gateway: Any, breaking_trainer: Any) -> None:
    gateway = await start_gateway(auth="keys", trainer_target=breaking_trainer.target)
    store = KeyStore(gateway.settings.key_file)
    key, text = store.create("ward 7")
    async with gateway.client(text) as client:
        assert (await client.get_run("r1")).run_id == "r1"
        assert [event.sequence async for event in client.watch_run("r1")] == list(range(1, 8))
    store.revoke(key.key_id)
    reasons = {None: "MISSING_API_KEY", "nonsense": "INVALID_API_KEY", text: "REVOKED_API_KEY"}
    for wrong, reason in reasons.items():
        async with gateway.client(wrong) as client:
            with pytest.raises(ServiceError) as unary:
                await client.get_run("r1")
            with pytest.raises(ServiceError) as stream:
                async for _ in client.watch_run("r1"):
                    pass
        for raised in (unary, stream):
            assert raised.value.code is Code.UNAUTHENTICATED
            assert raised.value.reason == reason


async def test_health_is_open_to_probes(start_gateway: Any) -> None:
    gateway = await start_gateway(auth="keys")
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        request = health_pb2.HealthCheckRequest(service="anamnesis.gateway.v1.TrainingService")
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
