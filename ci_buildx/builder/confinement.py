"""What buildkitd may do on its node: everything, or as a user of its own with confinement by AppArmor and seccomp.

How a profile is named depends on the API server: by a field from Kubernetes 1.30 (AppArmor) and 1.19 (seccomp) on, by
an annotation before. Unconfined is what BuildKit 0.34.2 asks for (``docs/rootless.md``): runc mounts and unshares.
"""

from __future__ import annotations

from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.pods import CONTAINER
from ci_buildx.settings.builder import BuilderSettings

USER = 1000
"""The user and group of rootless images."""

_APPARMOR_FIELD = (1, 30)
_SECCOMP_FIELD = (1, 19)
_TYPES = {"unconfined": "Unconfined", "runtime/default": "RuntimeDefault"}


def security_context(settings: BuilderSettings, server: tuple[int, int]) -> Manifest:
    """The securityContext of buildkitd's container."""
    if not settings.rootless:
        return {"privileged": True}
    context: Manifest = {"runAsUser": USER, "runAsGroup": USER}
    wanted = settings.confinement
    if wanted.seccomp and server >= _SECCOMP_FIELD:
        context["seccompProfile"] = _profile(wanted.seccomp)
    if wanted.apparmor and server >= _APPARMOR_FIELD:
        context["appArmorProfile"] = _profile(wanted.apparmor)
    return context


def profile_annotations(settings: BuilderSettings, server: tuple[int, int]) -> dict[str, str]:
    """The pod's annotations where the API server knows no field."""
    notes = {}
    if settings.rootless:
        wanted = settings.confinement
        if wanted.seccomp and server < _SECCOMP_FIELD:
            notes[f"container.seccomp.security.alpha.kubernetes.io/{CONTAINER}"] = wanted.seccomp
        if wanted.apparmor and server < _APPARMOR_FIELD:
            notes[f"container.apparmor.security.beta.kubernetes.io/{CONTAINER}"] = wanted.apparmor
    return notes


def pod_security(settings: BuilderSettings) -> str:
    """The level of PodSecurity that the pods need.

    ``baseline`` refuses privileged and unconfined containers (k8s.io/pod-security-admission v0.34.2, ``policy``); what
    the user's own template asks for is not known here.
    """
    wanted = settings.confinement
    confined = settings.rootless and "unconfined" not in (wanted.seccomp, wanted.apparmor)
    return "baseline" if confined and not settings.qemu.install and not settings.pod_template else "privileged"


def _profile(text: str) -> Manifest:
    kind, _, name = text.partition("/")
    return {"type": "Localhost", "localhostProfile": name} if kind == "localhost" else {"type": _TYPES[text]}
