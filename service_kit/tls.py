"""Where a process finds its certificates. The files are watched: whoever renews them restarts nothing.

Every certificate of Anamnesis bears its holder's name twice: as a client it is known by the URI
`spiffe://anamnesis/<name>`, as a server by the DNS name `<name>`. Names are those of callers.toml.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class KeyPair(BaseModel):
    """PEM files of a certificate (its chain behind it) and its private key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: Path
    key: Path


class TlsSettings(KeyPair):
    """Mutual TLS: our own certificate, and the authority that must have signed everybody else's."""

    ca: Path


class Trust(BaseModel):
    """A client that shows no certificate, and whose servers this authority has signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca: Path
