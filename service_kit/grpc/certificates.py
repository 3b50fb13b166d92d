"""Certificates read from files, and read again when the files change.

Invariant: what is taken into use is whole and good: the key belongs to the certificate, which the authority has signed
and which is valid now. A change that is not (files are replaced one after the other) is left alone and looked at again;
what was in use stays in use, and the log says why.
"""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from service_kit.grpc.own_certificate import check_own
from service_kit.tls import KeyPair, TlsSettings, Trust

log = logging.getLogger(__name__)

Files = KeyPair | TlsSettings | Trust
Stamp = tuple[tuple[int, int, int], ...]


class CertificatesWrong(Exception):
    """The files cannot be used; the message says which, and why. It holds nothing of a key."""


@dataclass(frozen=True)
class Material:
    """PEM, as gRPC takes it. A KeyPair has no `ca`, a Trust has that alone. `expires`: seconds since the epoch."""

    certificate: bytes | None
    key: bytes | None
    ca: bytes | None
    expires: float


class Certificates:
    """Safe to use from several threads: gRPC asks in its own."""

    def __init__(self, files: Files) -> None:
        """Raises CertificatesWrong."""
        self._files = files
        self._paths = [path for path in files.model_dump().values() if isinstance(path, Path)]
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self.material = self._read()
        _in_use.add(self)

    @property
    def name(self) -> str:
        return self._paths[0].name

    def renewed(self) -> Material | None:
        """What is in use from now on, where that has changed since the last call; never raises."""
        with self._lock:
            try:
                stamp = self._stamp()
                if stamp == self._seen:
                    return None
                material = self._read()
                if stamp != self._stamp():
                    return None  # changed while it was read
            except CertificatesWrong as wrong:
                log.warning("renewed certificates are not taken yet", extra={"error": str(wrong)})
                return None
            self._seen = stamp
            if material == self.material:
                return None
            self.material = material
        log.info("certificates renewed", extra={"files": [str(path) for path in self._paths]})
        return material

    def _stamp(self) -> Stamp:
        stamps = []
        for path in self._paths:
            try:
                found = path.stat()
            except OSError as error:
                raise CertificatesWrong(f"{path}: {error.strerror}") from error
            stamps.append((found.st_mtime_ns, found.st_ino, found.st_size))
        return tuple(stamps)

    def _read(self) -> Material:
        files = self._files
        certificate = files.certificate if isinstance(files, KeyPair) else None
        key = files.key if isinstance(files, KeyPair) else None
        ca = None if isinstance(files, KeyPair) and not isinstance(files, TlsSettings) else files.ca
        try:
            shown, kept, trusted = (path.read_bytes() if path else None for path in (certificate, key, ca))
            if ca is not None:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
        except OSError as error:  # SSLError is one
            raise CertificatesWrong(f"{ca}: {_why(error)}") from error
        try:
            expires = check_own(files) if isinstance(files, KeyPair) else math.inf
        except (OSError, ValueError) as error:
            raise CertificatesWrong(f"{certificate} with {key}: {_why(error)}") from error
        return Material(shown, kept, trusted, expires)


def server_credentials(files: KeyPair) -> grpc.ServerCredentials:
    """Asked for anew at each connection. With TlsSettings a client must show a certificate of the authority."""
    certificates = Certificates(files)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        material = certificates.renewed()
        return None if material is None else _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(certificates.material),
        renewed,  # type: ignore[arg-type]  # None, which the stubs do not know, keeps what is in use
        isinstance(files, TlsSettings),
    )


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    assert material.key is not None and material.certificate is not None
    return grpc.ssl_server_certificate_configuration([(material.key, material.certificate)], material.ca)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _remaining(options: CallbackOptions) -> Iterable[Observation]:
    for certificates in list(_in_use):
        if certificates.material.expires < math.inf:
            remaining = certificates.material.expires - time.time()
            yield Observation(remaining, {"certificate": certificates.name})


_in_use: weakref.WeakSet[Certificates] = weakref.WeakSet()
metrics.get_meter(__name__).create_observable_gauge(
    "anamnesis.tls.certificate.remaining",
    callbacks=[_remaining],
    unit="s",
    description="Until a certificate in use expires, by file",
)
