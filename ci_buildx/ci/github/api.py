"""GitHub's REST API, of the server that the runner belongs to. What it does not answer is not known."""

from __future__ import annotations

from typing import Any

from ci_buildx.ci.github.events import Event
from ci_buildx.model import http_calls

_PATIENCE = 10.0
_VERSION = "2022-11-28"


def repository(event: Event, token: str) -> dict[str, Any]:
    """The repository as events describe it, {} where it cannot be asked for."""
    return _get(event, f"/repos/{event.repository}", token)


def commit_date(event: Event, token: str) -> str:
    """When the commit was made, as ISO 8601, "" where that cannot be asked for."""
    found = _get(event, f"/repos/{event.repository}/commits/{event.sha}", token)
    try:
        return str(found["commit"]["committer"]["date"])
    except (KeyError, TypeError):
        return ""


def _get(event: Event, path: str, token: str) -> dict[str, Any]:
    import requests

    address = event.env.get("GITHUB_API_URL", "").rstrip("/")
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": _VERSION,
    }
    try:
        answer = http_calls.send("GET", f"{address}{path}", headers=headers, timeout=_PATIENCE)
        found = answer.json() if answer.ok else {}
    except (requests.RequestException, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
