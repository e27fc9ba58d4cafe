"""The pod that runs buildkitd."""

from __future__ import annotations

from ci_buildx.builder.builder import CA_FILE, CONFIG_FILE, CONTAINER, PORT, Location, Manifest
from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.builder.plan import NodePlan
from ci_buildx.settings.values import BuilderSettings

CERTIFICATE_FILE = "server.pem"
KEY_FILE = "server-key.pem"

GRACE_PERIOD = 5
"""Seconds for buildkitd to end. What it builds is lost with the builder: there is nothing to save."""

_SOCKET = "unix:///run/buildkit/buildkitd.sock"
_STATE_FOLDER = "/var/lib/buildkit"
_CERTIFICATE_FOLDER = "/etc/buildkit/tls"
_CONFIG_FOLDER = "/etc/buildkit/config"


def pod_spec(location: Location, node: NodePlan, settings: BuilderSettings) -> Manifest:
    """The spec of a node's pods."""
    volumes = [
        # On the image's own overlay BuildKit would fall back to copying (the native snapshotter).
        {"name": "state", "emptyDir": {}},
        {"name": "certificates", "secret": _server_files(location)},
    ]
    if settings.buildkitd_config:
        volumes.append({"name": "config", "configMap": {"name": location.object_name("config")}})
    selector = dict(settings.nodeselector)
    if node.architecture:
        selector[ARCHITECTURE] = node.architecture
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_PERIOD,
        # buildkitd has no business with the API, and a build must not find a token.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_container(settings)],
        "volumes": volumes,
    }
    if selector:
        spec["nodeSelector"] = dict(sorted(selector.items()))
    return spec


def buildkitd_arguments(settings: BuilderSettings) -> list[str]:
    """Flags of buildkitd 0.34.2 (``cmd/buildkitd/main.go``); the user's come last, so that they win.

    Without mTLS it listens on its UNIX socket only, which exec reaches.
    """
    arguments = ["--addr", _SOCKET, "--addr", f"tcp://:{PORT}"]
    for flag, file in (("tlscacert", CA_FILE), ("tlscert", CERTIFICATE_FILE), ("tlskey", KEY_FILE)):
        arguments += [f"--{flag}", f"{_CERTIFICATE_FOLDER}/{file}"]
    if settings.buildkitd_config:
        arguments += ["--config", f"{_CONFIG_FOLDER}/{CONFIG_FILE}"]
    return [*arguments, *settings.buildkitd_flags]


def _server_files(location: Location) -> Manifest:
    """The server's part of the Secret: the pod never sees the client's key."""
    files = (CA_FILE, CERTIFICATE_FILE, KEY_FILE)
    return {
        "secretName": location.object_name("keys"),
        "defaultMode": 0o400,
        "items": [{"key": file, "path": file} for file in files],
    }


def _container(settings: BuilderSettings) -> Manifest:
    mounts = [
        {"name": "state", "mountPath": _STATE_FOLDER},
        {"name": "certificates", "mountPath": _CERTIFICATE_FOLDER, "readOnly": True},
    ]
    if settings.buildkitd_config:
        mounts.append({"name": "config", "mountPath": _CONFIG_FOLDER, "readOnly": True})
    container: Manifest = {
        "name": CONTAINER,
        "image": settings.image,
        "args": buildkitd_arguments(settings),
        "ports": [{"name": "mtls", "containerPort": PORT, "protocol": "TCP"}],
        # Cheaper each second than running buildctl. buildkitd listens a moment before its workers are up
        # (cmd/buildkitd/main.go); what decides for a build is the first gRPC answer.
        "readinessProbe": {
            "tcpSocket": {"port": PORT},
            "initialDelaySeconds": 0,
            "periodSeconds": 1,
            "failureThreshold": 3,
        },
        "securityContext": {"privileged": True},
        # The daemon's last words come with the pod's status: no right to read logs is needed.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if resources := _resources(settings):
        container["resources"] = resources
    return container


def _resources(settings: BuilderSettings) -> Manifest:
    wanted = {"requests": dict(settings.requests), "limits": dict(settings.limits)}
    return {kind: quantities for kind, quantities in wanted.items() if quantities}
