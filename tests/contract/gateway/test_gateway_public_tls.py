"""The gateway's two doors with TLS: a certificate is shown to all, asked of nobody, and renewed while it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.auth.keys import KeyStore
from gateway.client import AnamnesisClient
from service_kit.errors import Code, ServiceError
from tests.certificates import Authority


@pytest.fixture
def authority() -> Authority:
    return Authority.make()


async def test_both_doors_show_the_certificate_and_still_ask_for_keys(
    start_gateway: Any, breaking_trainer: Any, authority: Authority, tmp_path: Path
) -> None:
    files = authority.issue(tmp_path, "gateway")
    pair = {"certificate": files.certificate, "key": files.key}
    gateway = await start_gateway(auth="keys", public_tls=pair, trainer_target=breaking_trainer.target)
    _, text = KeyStore(gateway.settings.key_file).create("ward 7")
    async with AnamnesisClient(gateway.target, text, ca=files.ca) as client:
        assert (await client.get_run("r1")).run_id == "r1"
    async with AnamnesisClient(gateway.target, ca=files.ca) as client:
        with pytest.raises(ServiceError) as keyless:
            await client.get_run("r1")
    assert keyless.value.code is Code.UNAUTHENTICATED
    async with httpx.AsyncClient(verify=str(files.ca), trust_env=False) as https:
        url = gateway.rest_url.replace("http://", "https://")
        assert (await https.get(f"{url}/readyz")).status_code == 200
        assert (await https.get(f"{url}/v1/models")).status_code == 401


async def test_a_door_with_tls_answers_nobody_in_plaintext(
    start_gateway: Any, authority: Authority, tmp_path: Path
) -> None:
    files = authority.issue(tmp_path, "gateway")
    gateway = await start_gateway(public_tls={"certificate": files.certificate, "key": files.key})
    async with gateway.client() as client:
        with pytest.raises(ServiceError) as refused:
            await client.get_run("r1")
    assert "it wants TLS" in refused.value.message
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"{gateway.rest_url}/readyz")


async def test_a_renewed_certificate_is_shown_at_the_next_connection(
    start_gateway: Any, authority: Authority, tmp_path: Path
) -> None:
    files = authority.issue(tmp_path, "gateway")
    gateway = await start_gateway(public_tls={"certificate": files.certificate, "key": files.key})
    url = f"https://127.0.0.1:{gateway.gateway.rest.port}/readyz"
    new = Authority.make("the next authority")
    new.issue(tmp_path, "gateway")
    async with httpx.AsyncClient(verify=str(files.ca), trust_env=False) as https:
        assert (await https.get(url)).status_code == 200


async def test_behind_the_gateway_it_is_known_by_its_certificate(
    start_gateway: Any, inference: Any, authority: Authority, tmp_path: Path
) -> None:
    """`tls` is for the services behind: the public doors stay as they are."""
    gateway = await start_gateway(tls=authority.issue(tmp_path, "gateway"), inference_policy_target=inference.target)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{gateway.rest_url}/readyz")).status_code == 200
        refused = await http.get(f"{gateway.rest_url}/v1/models")
    assert refused.status_code == 503  # the service behind speaks plaintext: it is not spoken to
    assert "WRONG_VERSION_NUMBER" in refused.text
