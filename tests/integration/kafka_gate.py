"""A secured Kafka listener before a broker that has none: TLS by Python's ssl, SASL as the protocol says.

Nothing of the client is faked: it shakes hands, authenticates with PLAIN or SCRAM (RFC 5802, 7677) and then speaks with
the broker itself, whose advertised address is the gate's. A request before the authentication ends the connection.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass

SASL_HANDSHAKE, SASL_AUTHENTICATE, API_VERSIONS = 17, 36, 18
AUTHENTICATION_FAILED = 58
UNSUPPORTED_MECHANISM = 33
ITERATIONS = 4096
DIGESTS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


class Refused(Exception):
    """The client is not who it says."""


# Kafka too closes a refused connection a little later (connection.failed.authentication.delay.ms): a close on the heels
# of the answer can hide it.
REFUSAL_SECONDS = 0.1


@dataclass
class Request:
    key: int
    version: int
    correlation: int
    body: bytes


class Gate:
    """Runs in a thread of its own until it is closed. Without `users` it asks for no SASL."""

    def __init__(
        self, port: int, backend: int, context: ssl.SSLContext, users: Mapping[str, str] | None = None
    ) -> None:
        self._backend = backend
        self._users = users
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kafka-gate", daemon=True)
        self._thread.start()
        started = asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self._server = asyncio.run_coroutine_threadsafe(started, self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", self._backend)
        try:
            if self._users is not None:
                await self._authenticate(reader, writer, behind, before)
            await asyncio.gather(_pump(reader, before), _pump(behind, writer))
        except (Refused, asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            before.close()

    async def _authenticate(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind: asyncio.StreamReader,
        before: asyncio.StreamWriter,
    ) -> None:
        exchange: Plain | Scram | None = None
        while exchange is None or not exchange.done:
            frame = await _frame(reader)
            request = _request(frame)
            if request.key == API_VERSIONS:
                before.write(_framed(frame))
                writer.write(_framed(await _frame(behind)))
            elif request.key == SASL_HANDSHAKE:
                (length,) = struct.unpack_from(">h", request.body)
                mechanism = request.body[2 : 2 + length].decode()
                exchange = self._exchange(mechanism)
                error = 0 if exchange is not None else UNSUPPORTED_MECHANISM
                names = b"".join(_string(name.encode()) for name in ("PLAIN", *DIGESTS))
                writer.write(_framed(struct.pack(">ihi", request.correlation, error, 1 + len(DIGESTS)) + names))
            elif request.key == SASL_AUTHENTICATE and exchange is not None:
                try:
                    writer.write(_framed(_authenticated(request, 0, b"", exchange.answer(_token(request)))))
                except Refused as refused:
                    writer.write(_framed(_authenticated(request, AUTHENTICATION_FAILED, str(refused).encode(), b"")))
                    await writer.drain()
                    await asyncio.sleep(REFUSAL_SECONDS)
                    raise
            else:
                raise Refused(f"request {request.key} before the authentication")
            await writer.drain()

    def _exchange(self, mechanism: str) -> Plain | Scram | None:
        assert self._users is not None
        if mechanism == "PLAIN":
            return Plain(self._users)
        return Scram(self._users, DIGESTS[mechanism]) if mechanism in DIGESTS else None


class Plain:
    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self.done = False

    def answer(self, token: bytes) -> bytes:
        _, user, password = token.decode().split("\0")
        if not hmac.compare_digest(self._users.get(user, ""), password) or user not in self._users:
            raise Refused("Authentication failed: invalid credentials")
        self.done = True
        return b""


class Scram:
    def __init__(self, users: Mapping[str, str], digest: str) -> None:
        self._users = users
        self._digest = digest
        self._said: list[str] = []
        self._password = ""
        self._salt = secrets.token_bytes(16)
        self.done = False

    def answer(self, token: bytes) -> bytes:
        text = token.decode()
        return self._first(text.removeprefix("n,,")) if not self._said else self._final(text)

    def _first(self, text: str) -> bytes:
        fields = _fields(text)
        if fields["n"] not in self._users:
            raise Refused("Authentication failed: invalid credentials")
        self._password = self._users[fields["n"]]
        nonce = fields["r"] + secrets.token_hex(12)
        answer = f"r={nonce},s={base64.b64encode(self._salt).decode()},i={ITERATIONS}"
        self._said = [text, answer]
        return answer.encode()

    def _final(self, text: str) -> bytes:
        bare, _, proof = text.rpartition(",p=")
        message = ",".join([*self._said, bare]).encode()
        salted = hashlib.pbkdf2_hmac(self._digest, self._password.encode(), self._salt, ITERATIONS)
        client_key = self._mac(salted, b"Client Key")
        stored = hashlib.new(self._digest, client_key).digest()
        signature = self._mac(stored, message)
        wanted = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if not hmac.compare_digest(wanted, base64.b64decode(proof)):
            raise Refused("Authentication failed: invalid credentials")
        self.done = True
        return b"v=" + base64.b64encode(self._mac(self._mac(salted, b"Server Key"), message))

    def _mac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._digest).digest()


def _fields(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(","))


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _framed(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def _string(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _request(frame: bytes) -> Request:
    key, version, correlation, length = struct.unpack_from(">hhih", frame)
    start = 10 + max(0, length)
    flexible = key == SASL_AUTHENTICATE and version >= 2
    return Request(key, version, correlation, frame[start + (1 if flexible else 0) :])  # no tagged fields in its header


def _token(request: Request) -> bytes:
    if request.version >= 2:  # compact: the length, and one, as a varint
        size, at = _varint(request.body)
        return request.body[at : at + size - 1]
    (size,) = struct.unpack_from(">i", request.body)
    return request.body[4 : 4 + size]


def _authenticated(request: Request, error: int, message: bytes, token: bytes) -> bytes:
    head = struct.pack(">i", request.correlation)
    if request.version >= 2:
        return (
            head + b"\0" + struct.pack(">h", error) + _compact(message) + _compact(token) + struct.pack(">q", 0) + b"\0"
        )
    body = struct.pack(">h", error) + _string(message) + struct.pack(">i", len(token)) + token
    return head + body + (struct.pack(">q", 0) if request.version == 1 else b"")


def _compact(content: bytes) -> bytes:
    size, encoded = len(content) + 1, bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size]) + content


def _varint(content: bytes) -> tuple[int, int]:
    value = 0
    for at, byte in enumerate(content):
        value |= (byte & 127) << (7 * at)
        if byte < 128:
            return value, at + 1
    raise ValueError("no varint")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    finally:
        writer.close()
