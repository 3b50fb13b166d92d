"""Who may call what: the peer's certificate says who it is, callers.toml what it may.

Invariant: with mutual TLS no handler is entered for a caller that the callee's table does not list for that RPC; what
the table does not know is refused.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from opentelemetry import trace
from pydantic import TypeAdapter, ValidationError

from service_kit.errors import PermissionDenied
from service_kit.grpc.handlers import Context

log = logging.getLogger(__name__)

BUILT_IN = Path(__file__).with_name("callers.toml")
SPIFFE = "spiffe://anamnesis/"
_OUTSIDE = "outside"

# Callee -> service -> RPC -> callers.
Table: TypeAlias = Mapping[str, Mapping[str, Mapping[str, list[str]]]]
_RPCS: TypeAdapter[Table] = TypeAdapter(Table)


class CallersWrong(Exception):
    """The file is no table of callers; the message says why."""


def load_callers(path: Path = BUILT_IN) -> Table:
    """The table of RPCs. Raises CallersWrong."""
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
        read.pop(_OUTSIDE, None)
        return _RPCS.validate_python(read)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise CallersWrong(f"{path}: {error}") from error


class Authorization:
    """Of one callee, by its deployment's name."""

    def __init__(self, callee: str, table: Table) -> None:
        self._callee = callee
        self._allowed = {
            f"/{service}/{rpc}": frozenset(callers)
            for service, rpcs in table.get(callee, {}).items()
            for rpc, callers in rpcs.items()
        }

    @asynccontextmanager
    async def __call__(self, method: str, context: Context) -> AsyncIterator[None]:
        name = caller(context)
        if name not in self._allowed.get(method, ()):
            raise self._refusal(method, name)
        trace.get_current_span().set_attribute("anamnesis.caller", name)
        yield

    def _refusal(self, method: str, name: str) -> PermissionDenied:
        rpc = method.lstrip("/")
        log.warning("caller refused", extra={"rpc": rpc, "caller": name, "callee": self._callee})
        if not name:
            return PermissionDenied(f"the certificate has no identity below {SPIFFE}", "CALLER_HAS_NO_IDENTITY")
        refusal = PermissionDenied(f"{name} may not call {rpc} of {self._callee}", "CALLER_NOT_ALLOWED")
        refusal.metadata |= {"caller": name, "callee": self._callee, "rpc": rpc}
        return refusal


def caller(context: Context) -> str:
    """The name in the peer's certificate, which the handshake has verified; empty where it has none of ours, or two."""
    identities = list(context.auth_context().get("peer_uri", ()))
    if len(identities) != 1:
        return ""
    uri = identities[0].decode(errors="replace")
    return uri.removeprefix(SPIFFE) if uri.startswith(SPIFFE) else ""
