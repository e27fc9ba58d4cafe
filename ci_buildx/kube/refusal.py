"""Converts the API server's error responses into KubeErrors with a reason and a fix.

Refusals have the shape of metav1.Status (apimachinery v0.34.2); the wording of a 403 is that of apiserver v0.34.2,
``pkg/endpoints/handlers/responsewriters/errors.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ci_buildx.errors import Conflict, Forbidden, Invalid, KubeError, NotFound, Throttled, Unauthorized
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily

_LIMIT = 600
"""Maximum characters of the server's message in an error."""

_DENIED = compile_lazily(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) '
    r'(?:resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)" '
    r'(?:in the namespace "(?P<namespace>[^"]*)"|at the cluster scope)|path "(?P<path>[^"]*)")'
    r"(?:: (?P<why>.*))?",
    re.DOTALL,
)

NO_API_SERVER = "is this a Kubernetes API server? check server in the kubeconfig"
USE_TLS = "use https:// as server in the kubeconfig"
_PLAIN_HTTP = b"HTTP request to an HTTPS server"
"""The response of Go's net/http, with status 400, to a request without TLS."""
_NO_REFUSAL = (301, 302, 303, 307, 308, 400, 404, 405)
"""Statuses for which an API server always sends a Status to our calls; without one, something else responded."""

_SEE_DOCTOR = "kube-builder doctor shows all that is missing"
_STREAMED = ("pods/exec", "pods/portforward", "pods/attach")


def make_kube_error(status: int, body: bytes, asked: str) -> KubeError:
    """Make the error for an HTTP ``status`` with ``body``; ``asked`` (``GET /api/…``) replaces a missing message."""
    answer = _parse_status(body)
    message = shorten_message(str(answer.get("message") or "")) or f"{asked}: status {status}: {_read_first_line(body)}"
    error = read_status_error({**answer, "code": status, "message": message})
    if not answer and status in _NO_REFUSAL:
        error.fix = USE_TLS if _PLAIN_HTTP in body else NO_API_SERVER
    return error


def read_status_error(answer: Mapping[str, Any]) -> KubeError:
    """Make the error for a metav1.Status, from a response body or a watch event."""
    code = answer.get("code")
    status, reason = code if isinstance(code, int) else 0, str(answer.get("reason") or "")
    message = str(answer.get("message") or reason or "unknown error")
    if status == 401:
        return Unauthorized(f"the API server does not accept the credentials: {message}", status=401, reason=reason)
    if status == 403:
        return _describe_forbidden(message, reason)
    if status == 404:
        return NotFound(message, status=404, reason=reason)
    if status == 409:
        return Conflict(message, status=409, reason=reason)
    if status == 422:
        return Invalid(_list_causes(answer) or message, status=422, reason=reason)
    if status == 429 or status >= 500:
        return Throttled(f"the API server failed ({status}): {message}", status=status, reason=reason)
    return KubeError(message, status=status, reason=reason)


def is_rbac_refusal(failure: Forbidden) -> bool:
    """Return whether RBAC refused, not admission: binding a role changes only RBAC's answer."""
    return failure.fix.endswith(_SEE_DOCTOR)


def shorten_message(text: str) -> str:
    """Join the server's message into one line and truncate it if it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LIMIT else f"{line[:_LIMIT]}…"


def _describe_forbidden(message: str, reason: str) -> Forbidden:
    """Name the user, the missing verb and the resource; admission's own messages (quota, PodSecurity) are kept."""
    found = _DENIED.search(message)
    if found is None:
        return Forbidden(message, status=403, reason=reason)
    user, verb = found["user"] or "system:anonymous", found["verb"]
    if found["path"] is not None:
        return Forbidden(f'user "{user}" may not {verb} {found["path"]}', status=403, reason=reason)
    resource = f"{found['resource']}.{found['group']}" if found["group"] else found["resource"]
    where = f'in namespace "{found["namespace"]}"' if found["namespace"] else "in the whole cluster"
    role = "Role" if found["namespace"] else "ClusterRole"
    verbs = f'the verb "{verb}"'
    when = ""
    if resource in _STREAMED:
        verbs, when = 'the verbs "get" and "create"', " (servers up to 1.34 ask for get, from 1.35 for create)"
    fix = f"bind a {role} with {verbs} on {resource} to that user{when}; {_SEE_DOCTOR}"
    why = f" ({found['why']})" if found["why"] else ""
    return Forbidden(f'user "{user}" may not {verb} {resource} {where}{why}', status=403, reason=reason, fix=fix)


def _list_causes(answer: Mapping[str, Any]) -> str:
    details = answer.get("details")
    found = details.get("causes") if isinstance(details, dict) else None
    listed = [cause for cause in found if isinstance(cause, dict)] if isinstance(found, list) else []
    causes = [f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in listed]
    if not causes or not isinstance(details, dict):
        return ""
    return shorten_message(
        f'{details.get("kind", "object")} "{details.get("name", "")}" is invalid: {"; ".join(causes)}'
    )


def _parse_status(body: bytes) -> dict[str, Any]:
    """Parse the body as a Status; return {} for anything else (a proxy's page, plain text)."""

    try:
        answer = parse_json(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _read_first_line(body: bytes) -> str:
    lines = body.decode(errors="replace").strip().splitlines()
    return shorten_message(lines[0]) if lines else "no reason given"
