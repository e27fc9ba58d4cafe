"""Profiles of AppArmor and seccomp, by field and by annotation, as the real API server takes them.

The devcluster runs one version. What is made for older servers is shown to it, too: it still reads AppArmor's
annotation, and makes the field of it; seccomp's it reads no more (Kubernetes 1.27).
"""

from __future__ import annotations

from typing import Any

import pytest

from ci_buildx.builder.manifests import buildkitd
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.builder import BuilderSettings, Confinement
from tests.integration.builder.conftest import Yard

NEW, OLD, OLDEST = (1, 34), (1, 29), (1, 18)


def taken(kube: KubeClient, namespace: str, settings: BuilderSettings, server: tuple[int, int]) -> dict[str, Any]:
    """The securityContext that the API server makes of a pod for a server of that version."""
    context = buildkitd.make_security_context(settings, server)
    container = {"name": "buildkitd", "image": "busybox", "securityContext": context}
    notes = buildkitd.make_profile_annotations(settings, server)
    pod = {"metadata": {"name": "pod", "annotations": notes}, "spec": {"containers": [container]}}
    made = kube.create(f"/api/v1/namespaces/{namespace}/pods", pod, dryRun="All")
    return dict(made["spec"]["containers"][0]["securityContext"])


@pytest.mark.parametrize("apparmor", ["unconfined", "runtime/default", "localhost/buildkit"])
def test_apparmors_annotation_is_the_field(apparmor: str, kube: KubeClient, yard: Yard) -> None:
    settings = BuilderSettings(rootless=True, confinement=Confinement(seccomp="localhost/x.json", apparmor=apparmor))
    namespace = yard.namespace()
    by_field, by_annotation = (taken(kube, namespace, settings, server) for server in (NEW, OLD))
    assert by_field == by_annotation
    assert by_field["seccompProfile"] == {"type": "Localhost", "localhostProfile": "x.json"}
    assert (
        by_field["appArmorProfile"]["type"] == {"u": "Unconfined", "r": "RuntimeDefault", "l": "Localhost"}[apparmor[0]]
    )
    assert "seccompProfile" not in taken(kube, namespace, settings, OLDEST)
