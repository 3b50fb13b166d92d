"""Certificates for tests, made when they are needed and never committed: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service_kit.tls import TlsSettings

DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    key: Key
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str = "test authority") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        unsigned = _certificate(subject, subject, key, expires=DAY)
        unsigned = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(key, unsigned.sign(key, hashes.SHA256()))

    def issue(
        self,
        directory: Path,
        name: str,
        *,
        identity: str | None = None,
        expires: datetime.timedelta = DAY,
        trust: Authority | None = None,
    ) -> TlsSettings:
        """The files of `name` in `directory`, written anew if they are there: its certificate, its key and the
        authority that it trusts, by default this one. `identity` stands for the SPIFFE id where that is to differ."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.DNSName(name),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.UniformResourceIdentifier(f"spiffe://anamnesis/{name}" if identity is None else identity),
        ]
        unsigned = _certificate(_subject(name), self.certificate.subject, key, expires=expires)
        unsigned = unsigned.add_extension(x509.SubjectAlternativeName(names), critical=False)
        files = TlsSettings(
            certificate=directory / f"{name}.crt", key=directory / f"{name}.key", ca=directory / f"{name}-ca.crt"
        )
        directory.mkdir(parents=True, exist_ok=True)
        files.key.write_bytes(_pem(key))
        files.certificate.write_bytes(unsigned.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files.ca.write_bytes((trust or self).certificate.public_bytes(serialization.Encoding.PEM))
        return files


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: Key, expires: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + expires)
    )


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
