"""Profiles as fields or annotations, by what the API server knows; the level of PodSecurity that follows."""

from __future__ import annotations

from typing import Any

import pytest

from ci_buildx.builder.manifests import buildkitd
from ci_buildx.settings.builder import BuilderSettings, Confinement, Qemu

APPARMOR = "container.apparmor.security.beta.kubernetes.io/buildkitd"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/buildkitd"
USER = {"runAsUser": 1000, "runAsGroup": 1000}


@pytest.mark.parametrize(
    ("server", "context", "notes"),
    [
        (
            (1, 30),
            {
                "seccompProfile": {"type": "Unconfined"},
                "appArmorProfile": {"type": "Localhost", "localhostProfile": "x"},
            },
            {},
        ),
        ((1, 29), {"seccompProfile": {"type": "Unconfined"}}, {APPARMOR: "localhost/x"}),
        ((1, 18), {}, {SECCOMP: "unconfined", APPARMOR: "localhost/x"}),
    ],
)
def test_by_the_servers_version(server: tuple[int, int], context: dict[str, Any], notes: dict[str, str]) -> None:
    settings = BuilderSettings(rootless=True, confinement=Confinement(apparmor="localhost/x"))
    assert buildkitd.make_security_context(settings, server) == USER | context
    assert buildkitd.make_profile_annotations(settings, server) == notes


def test_privileged_containers_have_no_profile() -> None:
    assert buildkitd.make_security_context(BuilderSettings(), (1, 20)) == {"privileged": True}
    assert buildkitd.make_profile_annotations(BuilderSettings(), (1, 20)) == {}


CONFINED = Confinement(seccomp="localhost/buildkit.json", apparmor="")


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        (BuilderSettings(), "privileged"),
        (BuilderSettings(rootless=True), "privileged"),
        (BuilderSettings(rootless=True, confinement=Confinement(seccomp="runtime/default")), "privileged"),
        (BuilderSettings(rootless=True, confinement=CONFINED), "baseline"),
        (BuilderSettings(rootless=True, confinement=CONFINED, qemu=Qemu(install=True)), "privileged"),
        (BuilderSettings(rootless=True, confinement=CONFINED, pod_template={"spec": {}}), "privileged"),
    ],
)
def test_level_of_pod_security(settings: BuilderSettings, level: str) -> None:
    assert buildkitd.choose_pod_security(settings) == level
