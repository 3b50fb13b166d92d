"""CRC-32C in C for kafka-python, which else computes it in Python: 7 MB a second, and nothing beside it meanwhile.

kafka-python knows the package `crc32c` alone, which is under the LGPL; this one is under the Apache licence.
"""

from __future__ import annotations

import google_crc32c
from kafka.record import util


def crc32c(content: memoryview) -> int:
    value: int = google_crc32c.value(bytes(content))  # takes no memoryview
    return value


def use_native_checksum() -> None:
    """For all of the process's producers and consumers."""
    util.calc_crc32c.__defaults__ = (crc32c,)
