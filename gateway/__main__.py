"""The gateway's process: gRPC and REST in one event loop, ready together and drained together."""

from __future__ import annotations

from gateway.gateway import Gateway
from gateway.settings import GatewaySettings
from service_kit.grpc.serving import run_service, serve
from service_kit.settings import load_settings


async def main(settings: GatewaySettings) -> None:
    gateway = Gateway(settings)
    await serve(
        settings, "gateway", gateway.register, prepare=gateway.prepare, drain=gateway.drain, close=gateway.close
    )


if __name__ == "__main__":
    run_service(main(load_settings(GatewaySettings, "gateway")))
