"""TLS towards the API server: what it is checked against, and the certificate we show."""

from __future__ import annotations

import ssl

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """``authority`` is PEM (empty: the system's roots), ``server_name`` the name to check ("" for the URL's host)."""

    authority: bytes = b""
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A client certificate with its key, both PEM; ``source`` says where it came from."""

    certificate: bytes
    key: Secret
    source: str = ""


def context(settings: TlsSettings, key_pair: KeyPair | None) -> ssl.SSLContext:
    """An SSLContext that checks the server as ``settings`` ask and shows ``key_pair``.

    Raises InputError for PEM that cannot be read.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not settings.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif settings.authority:
        _trust(made, settings.authority)
    else:
        made.load_default_certs()
    if key_pair is not None:
        _show(made, key_pair)
    return made


def _trust(made: ssl.SSLContext, authority: bytes) -> None:
    try:
        made.load_verify_locations(cadata=authority.decode("ascii"))
    except (ssl.SSLError, ValueError) as cause:
        raise InputError("certificate-authority holds no PEM certificate", source="kubeconfig") from cause


def _show(made: ssl.SSLContext, pair: KeyPair) -> None:
    from ci_buildx.model import private_file

    with private_file.hold(pair.certificate) as certificate, private_file.hold(pair.key.reveal()) as key:
        try:
            made.load_cert_chain(certificate, key, password="")  # never asked for on a terminal
        except (ssl.SSLError, OSError) as cause:
            reason = "client certificate and key do not belong together, or are not PEM"
            raise InputError(reason, source=pair.source or "kubeconfig") from cause


def expired(pair: KeyPair) -> str:
    """When a certificate ended, "" while it is valid. Costs an import, so it is asked only after a refusal."""
    from datetime import UTC, datetime

    from cryptography import x509

    try:
        ended = x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc
    except ValueError:
        return ""
    return "" if ended > datetime.now(UTC) else ended.strftime("%Y-%m-%d %H:%M:%S UTC")
