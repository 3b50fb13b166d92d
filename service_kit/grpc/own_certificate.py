"""Would others take this certificate? Asked of the certificate itself, before anybody else has to refuse it.

Invariant: what passes is valid now, is signed by the authority that is in use, and may be shown in every role in which
it will be: a handshake of the process with itself, in memory, is the same check that a peer makes.
"""

from __future__ import annotations

import ssl

from service_kit.tls import KeyPair, TlsSettings

# TLS 1.3 takes two turns of each side.
_TURNS = 8


def check_own(files: KeyPair) -> float:
    """When the certificate expires, in seconds since the epoch. Raises ssl.SSLError with what is wrong with it."""
    mutual = isinstance(files, TlsSettings)
    # A certificate for the public is signed by an authority that we do not have: it is taken for its own.
    authority = files.ca if isinstance(files, TlsSettings) else files.certificate
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    for context in (server, client):
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        context.load_verify_locations(authority)
        if not mutual:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    server.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    greeting = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_TURNS):
        for side in (greeting, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = greeting.getpeercert()
    assert shown is not None
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # else OpenSSL would ask on the terminal
