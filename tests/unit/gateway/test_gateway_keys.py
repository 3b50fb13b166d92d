from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.auth.guard import Guard
from gateway.auth.keys import KeyRefused, KeyStore
from service_kit.errors import Unauthenticated

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "gateway" / "keys.sqlite3", clock=lambda: NOON)


def test_a_key_that_was_made_opens_and_is_nowhere_in_the_file(store: KeyStore, tmp_path: Path) -> None:
    key, text = store.create("ward 7")
    assert store.check(text) == key
    file = tmp_path / "gateway" / "keys.sqlite3"
    assert text.encode() not in file.read_bytes()
    _, _, secret = text.split("_", 2)
    assert secret.encode() not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_keys_of_one_name_are_two_keys(store: KeyStore) -> None:
    (first, text), (second, other) = store.create("ward 7"), store.create("ward 7")
    assert first.key_id != second.key_id and text != other
    assert [key.key_id for key in store.all()] == [first.key_id, second.key_id]


def test_a_key_that_is_nearly_right_is_wrong(store: KeyStore) -> None:
    _, text = store.create("ward 7")
    for wrong in (text[:-1], text + "x", text.upper(), " " + text, "", "anm", "anm__", "ümlaut"):
        with pytest.raises(KeyRefused) as refused:
            store.check(wrong)
        assert refused.value.reason == "INVALID_API_KEY"


def test_a_revoked_key_says_so_to_its_holder_and_to_nobody_else(store: KeyStore) -> None:
    key, text = store.create("ward 7")
    assert store.revoke(key.key_id)
    assert store.revoke(key.key_id)
    assert not store.revoke("00000000")
    assert store.all()[0].revoked_at == NOON
    with pytest.raises(KeyRefused) as holder:
        store.check(text)
    with pytest.raises(KeyRefused) as guesser:
        store.check(f"anm_{key.key_id}_guess")
    assert (holder.value.reason, guesser.value.reason) == ("REVOKED_API_KEY", "INVALID_API_KEY")


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer  "])
async def test_a_call_without_a_bearer_key_is_told_what_to_send(store: KeyStore, header: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await Guard(store).admit(header)
    assert refused.value.reason == "MISSING_API_KEY"


async def test_the_scheme_is_read_in_any_case_and_no_store_admits_all(store: KeyStore) -> None:
    _, text = store.create("ward 7")
    await Guard(store).admit(f"bearer {text}")
    await Guard(None).admit(None)
