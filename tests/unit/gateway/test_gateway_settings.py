from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from service_kit.settings import WrongSettings, read_settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_the_laptops_default_needs_no_key_on_loopback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_GATEWAY_HOST", host)
    assert read_settings(GatewaySettings, "gateway").auth == "local"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gateway.example.org", ""])
def test_no_keys_on_a_public_host_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_GATEWAY_HOST", host or "*")
    with pytest.raises(WrongSettings, match=r'auth = "local".*loopback'):
        read_settings(GatewaySettings, "gateway")
    monkeypatch.setenv("ANAMNESIS_GATEWAY_AUTH", "keys")
    assert read_settings(GatewaySettings, "gateway").host


def test_the_key_file_lies_in_the_state_directory_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_GATEWAY_STATE_DIR", "/var/a")
    assert read_settings(GatewaySettings, "gateway").key_file == Path("/var/a/gateway/keys.sqlite3")
    monkeypatch.setenv("ANAMNESIS_GATEWAY_KEYS_FILE", "/etc/keys.sqlite3")
    assert read_settings(GatewaySettings, "gateway").key_file == Path("/etc/keys.sqlite3")
