"""TLS of the REST door. Invariant: each handshake shows the certificate that lies in the files then."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from service_kit.grpc.certificates import Certificates
from service_kit.tls import KeyPair


def renewing_context(files: KeyPair) -> ssl.SSLContext:
    """Raises CertificatesWrong."""
    certificates = Certificates(files)
    current = _context(files)

    def begin(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        nonlocal current
        if certificates.renewed() is not None:
            current = _context(files)
        connection.context = current

    context = _context(files)
    context.sni_callback = begin
    return context


def _context(files: KeyPair) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    return context


def context_factory(files: KeyPair | None) -> Callable[[Any, Any], ssl.SSLContext] | None:
    """As uvicorn takes it; None for plaintext."""
    if files is None:
        return None
    context = renewing_context(files)
    return lambda config, default: context
