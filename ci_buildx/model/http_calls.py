"""Single HTTP calls with a login of their own, to the CI system's services."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_buildx.model import debug

if TYPE_CHECKING:
    from requests import Response

_LOG = debug.get_log("model")


def send(
    method: str, url: str, *, timeout: float, headers: Mapping[str, str] | None = None, **content: Any
) -> Response:
    """Send a request through the proxies and with the authorities that the environment names, and return its answer.

    ``timeout`` is in seconds; ``content`` are arguments of ``requests.Session.request``. The login is what ``headers``
    hold: ``requests`` would replace it by one of ``~/.netrc``, and would send one of those wherever a redirect leads.
    A redirect to another origin takes no login along. Raises ``requests.RequestException``.
    """
    from requests import Session
    from requests.utils import get_environ_proxies

    began, outcome = time.monotonic(), "no answer"
    try:
        with Session() as session:
            session.trust_env = False
            response = session.request(
                method,
                url,
                headers=headers,
                timeout=timeout,
                proxies=get_environ_proxies(url),
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
                **content,
            )
        outcome = str(response.status_code)
        return response
    finally:
        if _LOG.is_on:
            _LOG.debug("%s %s: %s after %.3f s", method, show_url(url), outcome, time.monotonic() - began)


def show_url(url: str) -> str:
    """Return the URL as the debug log shows it: host and path, of the query nothing, of a login nothing."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme}://{host}{port}{parts.path}{'?***' if parts.query else ''}"
