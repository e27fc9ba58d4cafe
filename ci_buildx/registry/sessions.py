"""Sessions of ``requests`` that trust what was declared, one for each host."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import InputError
from ci_buildx.model import private_file
from ci_buildx.model.secret import Secret
from ci_buildx.registry.trust import Trust

if TYPE_CHECKING:
    from requests import Session
    from requests.adapters import HTTPAdapter

    from ci_buildx.registry.pace import Pace

REDIRECTS = 5
"""Redirects of one request that are followed."""


def make(host: str, trust: Trust, pace: Pace) -> Session:
    """A session that takes no logins from its surroundings: those of a ``.netrc`` are not meant for us."""
    from requests import Session

    session = Session()
    session.trust_env = False
    session.max_redirects = REDIRECTS
    if host in trust.insecure:
        import warnings

        from urllib3.exceptions import InsecureRequestWarning

        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
        session.mount("https://", _adapter(pace))
    else:
        session.mount("https://", _adapter(pace, _context(host, trust)))
    session.mount("http://", _adapter(pace))
    return session


def _context(host: str, trust: Trust) -> ssl.SSLContext:
    """TLS as this system trusts it (``SSL_CERT_FILE`` included), and the authorities declared for the host."""
    context = ssl.create_default_context()
    if trust.everywhere:
        context.load_verify_locations(cadata=trust.everywhere)
    for one in trust.authorities.get(host, ()):
        try:
            if isinstance(one, str):
                context.load_verify_locations(cadata=one)
            else:
                context.load_verify_locations(one)
        except OSError as error:
            what = one if isinstance(one, Path) else "a certificate authority"
            raise InputError(f"{what} holds no certificates: {error}", source=f"ca of registry {host}") from error
    for certificate, key in trust.keypairs.get(host, ()):
        _present(context, certificate, key, host)
    return context


def _present(context: ssl.SSLContext, certificate: Secret, key: Secret, host: str) -> None:
    """Let the context show a client certificate. The library reads only files."""
    with private_file.hold(certificate.reveal() + b"\n" + key.reveal()) as name:
        try:
            context.load_cert_chain(name, password="")  # never asked for on a terminal
        except OSError as error:
            message = "the client certificate and its key do not belong together or are no PEM"
            raise InputError(message, source=f"keypair of registry {host}") from error


def _adapter(pace: Pace, context: ssl.SSLContext | None = None) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter

    from ci_buildx.registry.pace import pools

    class Bounded(HTTPAdapter):
        """Keeps the pace and uses the TLS context, through proxies too."""

        def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
            super().init_poolmanager(*sizes, **options, ssl_context=context)
            self.poolmanager.pool_classes_by_scheme = pools(pace)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            found = super().proxy_manager_for(proxy, **options, ssl_context=context)
            found.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme
            return found

    return Bounded()


def bundle() -> str | bool:
    """The file of authorities that users of requests declare; its own otherwise."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
