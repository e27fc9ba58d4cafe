"""The TLS context of clients."""

from __future__ import annotations

import ssl


def make_client_context(*, system: bool = True) -> ssl.SSLContext:
    """Return a context that verifies servers, by the ``system``'s authorities (``SSL_CERT_FILE`` included).

    Certificates without the identifier of their authority's key are accepted, as by buildkitd and other programs in Go:
    :func:`ssl.create_default_context` refuses them since Python 3.13 (``VERIFY_X509_STRICT``).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if system:
        context.load_default_certs()
    return context
