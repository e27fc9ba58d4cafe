"""Single HTTP calls with a login of their own, to the CI system's services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Response


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

    with Session() as session:
        session.trust_env = False
        return session.request(
            method,
            url,
            headers=headers,
            timeout=timeout,
            proxies=get_environ_proxies(url),
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
            **content,
        )
