"""The checksum in C is the one that Kafka means, and every client uses it."""

from __future__ import annotations

import os

from kafka.record import util
from kafka.record._crc32c import crc

from service_kit.kafka.checksum import crc32c, use_native_checksum


def test_it_is_crc_32c() -> None:
    assert crc32c(memoryview(b"123456789")) == 0xE3069283  # the check value of RFC 3720's polynomial
    content = bytearray(os.urandom(4096))
    assert crc32c(memoryview(content)[7:]) == crc(memoryview(content)[7:])


def test_clients_compute_it_in_c() -> None:
    use_native_checksum()
    assert util.calc_crc32c.__defaults__ == (crc32c,)
    assert util.calc_crc32c(memoryview(b"123456789")) == 0xE3069283
