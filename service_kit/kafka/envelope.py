"""How a contract's message travels in Kafka: protobuf bytes, and headers that say what they are.

Invariant: what `unpack` returns was packed as that message type in a schema whose major version is ours; anything else
is Undecodable with a stable reason. Rules of the contract (protovalidate) are the reader's business.

A version is `major` or `major.minor`. Fields that are added are a new minor version: an older reader does not look at
them, and an older writer leaves them unset. What an older reader would misunderstand is a new major version and goes to
the dead letters, to be replayed once the readers are new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

CONTENT_TYPE = b"application/x-protobuf"
SCHEMA_MAJOR = 1
SCHEMA_VERSION = str(SCHEMA_MAJOR).encode()

_VERSION = re.compile(rb"(\d{1,6})(\.\d{1,6})?")
Headers = Sequence[tuple[str, bytes]]
M = TypeVar("M", bound=Message)


class Undecodable(Exception):
    """`reason` is stable and counted; `detail` is for people and holds nothing of the message's content."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    return [
        ("content-type", CONTENT_TYPE),
        ("message-type", message.DESCRIPTOR.full_name.encode()),
        ("schema-version", SCHEMA_VERSION),
    ]


def header(headers: Headers, name: str) -> bytes | None:
    """The last header of that name, as Kafka reads duplicates."""
    values = [value for key, value in headers if key == name]
    return values[-1] if values else None


def unpack(message_type: type[M], headers: Headers, value: bytes | None) -> M:
    """The message. Raises Undecodable."""
    expected = message_type.DESCRIPTOR.full_name
    claimed = header(headers, "message-type")
    if claimed is None:
        raise Undecodable("NO_MESSAGE_TYPE", "the message-type header is missing")
    if claimed != expected.encode():
        raise Undecodable("WRONG_MESSAGE_TYPE", f"{claimed[:128].decode(errors='replace')} is not {expected}")
    content = header(headers, "content-type")
    if content != CONTENT_TYPE:
        raise Undecodable("WRONG_CONTENT_TYPE", f"{content!r:.128} is not {CONTENT_TYPE.decode()}")
    _check_version(header(headers, "schema-version"))
    if value is None:
        raise Undecodable("NO_VALUE", "a tombstone where a message is due")
    try:
        return message_type.FromString(value)
    except DecodeError:
        raise Undecodable("BROKEN_PROTOBUF", f"{len(value)} bytes that are no {expected}") from None


def _check_version(version: bytes | None) -> None:
    match = _VERSION.fullmatch(version or b"")
    if match is None:
        raise Undecodable("UNKNOWN_SCHEMA_VERSION", f"{version!r:.128} is no schema version")
    major = int(match[1])
    if major > SCHEMA_MAJOR:
        raise Undecodable(
            "NEWER_SCHEMA_VERSION", f"major version {major} is newer than {SCHEMA_MAJOR}, which is read here"
        )
    if major < SCHEMA_MAJOR:
        raise Undecodable("OLDER_SCHEMA_VERSION", f"major version {major} is read no more: it is {SCHEMA_MAJOR} here")
