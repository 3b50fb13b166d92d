"""The REST API: OpenAI's protocol on /v1 behind the guard, and the probes, which are open."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from anamnesis.inference.v1 import inference_pb2
from gateway.auth.guard import Guard
from gateway.backends import Backends
from gateway.rest.chat import ChatAnswer, fingerprint
from gateway.rest.errors import OpenAIError, from_service_error, from_validation, model_not_found
from gateway.rest.middleware import BodyLimit, Edge
from gateway.rest.schema import ChatRequest, parse_chat_request
from service_kit.errors import ServiceError

Result = TypeVar("Result")

# The instrumentation's default is still the names of 2023.
_CONVENTIONS = "OTEL_SEMCONV_STABILITY_OPT_IN"
_CLIENT_GONE = 499  # nobody reads it; it is what the span and the access log say


def create_app(backends: Backends, guard: Guard, ready: Callable[[], bool]) -> FastAPI:
    app = FastAPI(title="Anamnesis", docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, limit=backends.settings.max_body_bytes)
    app.add_middleware(Edge)  # added last, so outermost
    app.include_router(probes(ready))
    app.include_router(openai_api(backends, guard))
    app.add_exception_handler(OpenAIError, _answer_openai_error)
    app.add_exception_handler(ServiceError, _answer_service_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    os.environ.setdefault(_CONVENTIONS, "http")
    FastAPIInstrumentor.instrument_app(app, excluded_urls="healthz,readyz", exclude_spans=["receive", "send"])
    return app


def probes(ready: Callable[[], bool]) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz() -> Response:
        return JSONResponse({"status": "ready"} if ready() else {"status": "not ready"}, 200 if ready() else 503)

    return router


def openai_api(backends: Backends, guard: Guard) -> APIRouter:
    async def admitted(authorization: Annotated[str | None, Header()] = None) -> None:
        await guard.admit(authorization)

    router = APIRouter(prefix="/v1", dependencies=[Depends(admitted)])
    body_schema = {"content": {"application/json": {"schema": ChatRequest.model_json_schema()}}, "required": True}

    @router.post("/chat/completions", openapi_extra={"requestBody": body_schema})
    async def chat_completions(request: Request) -> Response:
        asked = chat_request(await request.body())
        if asked.stream:
            answer = await unless_gone(request, ChatAnswer.begin(backends, asked))
            # Starlette stops the iteration when the client goes, and that cancels the generation.
            return StreamingResponse(
                answer.events(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
            )

        async def whole() -> dict[str, Any]:
            return await (await ChatAnswer.begin(backends, asked)).whole()

        return JSONResponse(await unless_gone(request, whole()))

    @router.get("/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_card(model) for model in await backends.models()]}

    @router.get("/models/{model_id:path}")
    async def model(model_id: str) -> dict[str, Any]:
        for served in await backends.models():
            if served.model_id == model_id:
                return model_card(served)
        raise model_not_found(model_id)

    return router


def model_card(model: inference_pb2.Model) -> dict[str, Any]:
    return {
        "id": model.model_id,
        "object": "model",
        "created": 0,
        "owned_by": "anamnesis",
        "max_context_tokens": model.max_context_tokens,
        "system_fingerprint": fingerprint(model.policy_version),
    }


def chat_request(body: bytes) -> ChatRequest:
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise OpenAIError(400, "The body is not valid JSON.", None, "invalid_json") from error
    if not isinstance(parsed, dict):
        raise OpenAIError(400, "The body must be a JSON object.", None, "invalid_json")
    try:
        return parse_chat_request(parsed)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The work's result, or ClientDisconnect once the client has hung up: then the work is cancelled."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, ServiceError, OpenAIError):
                await task


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(error: OpenAIError) -> Response:
    return JSONResponse(error.body, error.status, error.headers)


async def _answer_openai_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OpenAIError)
    return _response(error)


async def _answer_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return _response(from_service_error(error))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"Invalid URL ({request.method} {request.url.path})" if error.status_code == 404 else str(error.detail)
    return _response(OpenAIError(error.status_code, message, None, "unknown_url" if error.status_code == 404 else None))


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)
