"""What the gateway can be told. A door without keys is a loopback door: auth = "local" on a public host is refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from service_kit.settings import ServiceSettings
from service_kit.tls import KeyPair


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class GatewaySettings(ServiceSettings):
    grpc_port: int = 7100
    rest_port: int = Field(default=7180, ge=0, le=65535)

    # local: no key is asked for, on a loopback host alone. keys: every call brings one.
    auth: Literal["local", "keys"] = "local"
    # What both doors show to the public, which has keys instead of certificates; `tls` is for the services behind.
    public_tls: KeyPair | None = None
    # The API keys' SQLite file; absent means gateway/keys.sqlite3 under state_dir.
    keys_file: Path | None = None

    trainer_target: str = "localhost:7105"
    simulator_target: str = "localhost:7101"
    rubric_target: str = "localhost:7102"
    inference_policy_target: str = "localhost:7103"

    # Upper bounds of the calls behind a user's call; a shorter deadline of the user's own goes before them.
    call_seconds: float = Field(default=30.0, gt=0)
    respond_seconds: float = Field(default=120.0, gt=0)
    generate_seconds: float = Field(default=300.0, gt=0)
    watch_seconds: float = Field(default=3600.0, gt=0)

    # What an answer may be long where the user does not say.
    default_max_tokens: int = Field(default=512, ge=1, le=32768)
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)

    @model_validator(mode="after")
    def open_only_on_loopback(self) -> Self:
        if self.auth == "local" and not is_loopback(self.host):
            raise ValueError(
                f'auth = "local" asks nobody for a key, so host must be loopback, not {self.host}; set auth = "keys"'
            )
        return self

    @property
    def listener_tls(self) -> KeyPair | None:
        return self.public_tls

    @property
    def key_file(self) -> Path:
        return self.keys_file or self.state_dir / "gateway" / "keys.sqlite3"
