"""Sessions of ``requests`` that trust what was declared, one for each host."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import InputError
from ci_buildx.registry.trust import Trust

if TYPE_CHECKING:
    from requests import Session
    from requests.adapters import HTTPAdapter


def make(host: str, trust: Trust) -> Session:
    """A session that takes no logins from its surroundings: those of a ``.netrc`` are not meant for us."""
    from requests import Session

    session = Session()
    session.trust_env = False
    if host in trust.insecure:
        import warnings

        from urllib3.exceptions import InsecureRequestWarning

        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    else:
        session.mount("https://", _adapter(_context(host, trust)))
    return session


def _context(host: str, trust: Trust) -> ssl.SSLContext:
    """TLS as this system trusts it (``SSL_CERT_FILE`` included), and the authorities declared for the host."""
    context = ssl.create_default_context()
    for file in trust.authorities.get(host, ()):
        try:
            context.load_verify_locations(file)
        except OSError as error:
            raise InputError(f"{file} holds no certificates: {error}", source=f"ca of registry {host}") from error
    return context


def _adapter(context: ssl.SSLContext) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter

    class Trusting(HTTPAdapter):
        """Uses the context, through proxies too."""

        def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
            super().init_poolmanager(*sizes, **options, ssl_context=context)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, **options, ssl_context=context)

    return Trusting()


def bundle() -> str | bool:
    """The file of authorities that users of requests declare; its own otherwise."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
