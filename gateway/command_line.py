"""What the gateway's commands share: the options that reach the API, and how an error becomes a line and a code."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from gateway.client import AnamnesisClient

Result = TypeVar("Result")

DEFAULT_TARGET = "localhost:7100"
# The authority that has signed the gateway's certificate; unset for plaintext.
CA_VARIABLE = "ANAMNESIS_CA"

Target = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="ANAMNESIS_TARGET",
        help="The gateway's gRPC address; with TLS, ANAMNESIS_CA names the CA file.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="ANAMNESIS_API_KEY", help="Not needed where the gateway is local.", show_default=False
    ),
]


def examples(*lines: str) -> str:
    """An epilog that teaches by example; the blank lines keep typer from joining them."""
    return "\n\n".join(("Examples:", *lines))


def with_client(target: str, api_key: str | None, work: Callable[[AnamnesisClient], Awaitable[Result]]) -> Result:
    """Run `work` with a client. An error of the API is one line on stderr and exit code 1; Ctrl-C is 130."""
    from gateway.client import AnamnesisClient
    from service_kit.errors import Code, ServiceError
    from service_kit.grpc.certificates import CertificatesWrong

    ca = os.environ.get(CA_VARIABLE)

    async def run() -> Result:
        async with AnamnesisClient(target, api_key, ca=Path(ca) if ca else None) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except CertificatesWrong as wrong:
        print(f"error: {CA_VARIABLE}: {wrong}", file=sys.stderr)
        raise typer.Exit(1) from wrong
    except ServiceError as error:
        hint = ""
        if error.code is Code.UNAVAILABLE:
            hint = f"\nIs the stack up? `anamnesis status` shows it; the gateway was looked for at {target}."
        elif error.code is Code.UNAUTHENTICATED:
            hint = "\nMake a key with `anamnesis keys create NAME` and give it by --api-key or ANAMNESIS_API_KEY."
        print(f"error: {error.message} ({error.reason}){hint}", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise typer.Exit(130) from None


def parse_overrides(settings: list[str]) -> dict[str, str]:
    """`["schedule.steps=4"]` as {"schedule.steps": "4"}."""
    overrides = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{setting!r} is not NAME=VALUE, for example schedule.steps=4")
        overrides[name.strip()] = value.strip()
    return overrides
