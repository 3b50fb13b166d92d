"""Where Kafka is and how to talk to it: the same few settings make a laptop's broker and a secured cluster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from service_kit.kafka.checksum import use_native_checksum
from service_kit.settings import MEBIBYTE


class KafkaSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bootstrap: str = Field(default="localhost:7192", min_length=1)
    """host:port, several separated by commas."""
    request_timeout_seconds: float = Field(default=10.0, gt=0)
    delivery_timeout_seconds: float = Field(default=60.0, gt=0)
    """A message that was not acknowledged by then has failed."""
    session_timeout_seconds: float = Field(default=10.0, gt=0)
    """A consumer that is silent this long loses its partitions."""
    partitions: int = Field(default=4, ge=1)
    replication_factor: int = Field(default=1, ge=1)
    max_message_bytes: int = Field(default=8 * MEBIBYTE, ge=1024)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: str | None = None
    """The authority of the brokers' certificates; None takes the system's."""
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    """Our own certificate, where the brokers know their clients by it."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> KafkaSettings:
        given = (self.sasl_mechanism, self.sasl_username, self.sasl_password)
        if self.security_protocol.startswith("SASL") and None in given:
            raise ValueError("SASL needs sasl_mechanism, sasl_username and sasl_password")
        if not self.security_protocol.startswith("SASL") and any(given):
            raise ValueError("sasl_* is given, so security_protocol must be SASL_SSL or SASL_PLAINTEXT")
        files = (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)
        if any(files) and not self.security_protocol.endswith("SSL"):
            raise ValueError("ssl_* is given, so security_protocol must be SSL or SASL_SSL")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile go together")
        if self.delivery_timeout_seconds < self.request_timeout_seconds:
            raise ValueError("delivery_timeout_seconds is at least request_timeout_seconds")
        return self


def connection_options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """What kafka-python's producer, consumer and admin client all take."""
    use_native_checksum()
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap.split(",")],
        "client_id": client_id,
        "request_timeout_ms": round(settings.request_timeout_seconds * 1000),
        "bootstrap_timeout_ms": round(settings.request_timeout_seconds * 1000),
        # A broker that comes back is found within seconds.
        "reconnect_backoff_max_ms": 2000,
        "security_protocol": settings.security_protocol,
    }
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if (path := getattr(settings, name)) is not None:
            options[name] = path
    if settings.sasl_mechanism is not None and settings.sasl_password is not None:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return options
