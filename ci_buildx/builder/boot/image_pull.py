"""Diagnosis of failed image pulls: which may resolve on their own, and which never do."""

from __future__ import annotations

import re

from ci_buildx.builder.boot.observation import PodCase, Verdict, count_events
from ci_buildx.builder.pods import CONTAINER
from ci_buildx.model.lazy import compile_lazily

REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "SignatureValidationFailed"})
_OPTION = "driver-opt image"
_PULLS = 3
"""Pulls after which an unresponsive registry is given up (the kubelet pauses 10 s, then 20 s, between them)."""

_PULL_FAILED = "Failed to pull image"
"""Start of the event's message for a failed pull (kubelet v1.34.2, ``pkg/kubelet/images/image_manager.go``)."""
_NO_LOGIN = "the node may not pull it: check driver-opt image and the node's login"
_MISSING = "there is no Secret"
_LATE = 2
"""Pulls after which a missing Secret is no longer waited for; controllers copy Secrets into new namespaces."""
_UNRETRIEVED = "FailedToRetrieveImagePullSecret"
"""Reason of the event about missing pull Secrets of a pod (kubelet v1.34.2, ``pkg/kubelet/kubelet_pods.go``)."""
_UNFOUND = compile_lazily(r"image pull secrets \(([^)]+)\)")
_ABSENT = compile_lazily(r"not found|manifest unknown|name unknown|does not exist|no match for platform", re.IGNORECASE)
_DENIED = compile_lazily(
    r"denied|unauthori[sz]ed|authori[sz]ation failed|authentication required|forbidden|no basic auth", re.IGNORECASE
)
_NETWORK = compile_lazily(
    r"timeout|timed out|refused|no such host|name resolution|unreachable|connection reset|\bEOF\b|TLS handshake|"
    r"too ?many ?requests|\b5\d\d (?:internal|bad|service|gateway)|unavailable",
    re.IGNORECASE,
)


def diagnose_image_pull(case: PodCase, name: str, reason: str, message: str) -> Verdict:
    """Return the verdict on container ``name``, which waits for its image for ``reason``, one of REASONS."""
    # Each pull may end with three events; only this one has the cause.
    failures = [event for event in case.list_recent("Failed") if _PULL_FAILED in str(event.get("message", ""))]
    # Up to Kubernetes 1.30 the back-off's message does not repeat the cause; the event has it.
    told = message if reason != "ImagePullBackOff" or not failures else f"{message} {failures[-1].get('message', '')}"
    detail = _choose_detail(message, str(failures[-1].get("message", "")) if failures else "")
    option = _OPTION
    if name != CONTAINER:
        detail, option = f"container {name}: {detail}", f"the image of container {name}"
    if reason in _HOPELESS:
        return case.make_failure(reason, detail, f"check {option}")
    network = bool(_NETWORK.search(told))
    if not network and _DENIED.search(told):
        cure = _advise_login(case, option)
        if cure.startswith(_MISSING) and count_events(failures) < _LATE:
            return case.make_waiting(f"{reason}: {detail}")
        return case.make_failure(reason, detail, cure)
    if not network and _ABSENT.search(told):
        return case.make_failure(reason, detail, f"check {option}: name, tag and platform")
    if count_events(failures) >= _PULLS:
        return case.make_failure(reason, detail, "the registry does not answer the node")
    return case.make_waiting(f"{reason}: {detail}")


def _advise_login(case: PodCase, option: str) -> str:
    """Return the fix if the cluster node's login, or that of the Secrets named by the pod, does not suffice."""
    assert case.pod is not None
    named = [str(secret.get("name")) for secret in (case.pod.get("spec") or {}).get("imagePullSecrets") or ()]
    if not named:
        return _NO_LOGIN.replace(_OPTION, option)
    said = "\n".join(str(event.get("message", "")) for event in case.list_recent(_UNRETRIEVED))
    found = _UNFOUND.search(said)
    why = f"{_MISSING} {found[1]}" if found else f"Secret {', '.join(named)} does not let it be pulled"
    return f"{why}: check driver-opt image-pull-secrets"


def _choose_detail(message: str, event: str) -> str:
    """Return the longer text, which has the cause."""
    return max((message, event), key=len) or "no details are given"
