"""Manifests against golden files.

After a change that is meant: GOLDEN=rewrite pytest tests/unit/builder/manifests/test_objects.py
"""

import os
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder import identity, plan
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.manifests import objects
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.model import platform
from ci_buildx.model.record import replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import (
    ROOTLESS_IMAGE,
    BuilderProxy,
    BuilderSettings,
    NetworkIsolation,
    Qemu,
    Registries,
    Storage,
    Toleration,
)
from ci_buildx.settings.driver_opts.table import OPTIONS
from tests.unit.builder.manifests.samples import CERTIFICATES, ORIGIN

GOLDEN = Path(__file__).parent / "golden"
FACTS = ClusterFacts(nodes=(KubeNode(name="n1", architecture="amd64"), KubeNode(name="n2", architecture="arm64")))

PLAIN = BuilderSettings()
FULL = BuilderSettings(
    namespace="ci-builds",
    image="registry.example/mirror/buildkit:1",
    replicas=3,
    max_builds=5,
    metrics_port=6060,
    nodeselector=(("pool", "ci"), ("disk", "ssd")),
    tolerations=(Toleration(key="dedicated", value="ci"), Toleration(operator="Exists", effect="NoExecute", seconds=9)),
    annotations=(("team.example/owner", "images"),),
    labels=(("team", "images"),),
    pod_fields=(
        ("serviceAccountName", "builder"),
        ("schedulerName", "packs"),
        ("priorityClassName", "high"),
        ("dnsPolicy", "Default"),
    ),
    requests=(("cpu", "2"), ("memory", "4Gi")),
    limits=(("memory", "8Gi"),),
    env=(("BUILDKIT_STEP_LOG_MAX_SIZE", "-1"), ("NO_PROXY", "all")),
    qemu=Qemu(install=True, image="registry.example/mirror/binfmt:1"),
    storage=Storage(claimed="20Gi", storage_class="fast"),
    pull_secrets=("registry",),
    pod_template={"spec": {"containers": [{"name": "buildkitd", "tty": True}, {"name": "side", "image": "sidecar"}]}},
    proxy=BuilderProxy(https=Secret("http://user:pass@proxy.example:3128"), no_proxy=("10.0.0.0/8",)),
    registries=Registries(
        mirrors=(("docker.io", ("mirror.example",)),), insecure=("r.example:5000",), certificates="PEM\n"
    ),
    grace_period=20,
    lifetime=900,
    buildkitd_config='debug = true\n[registry."docker.io"]\nhttp = true\n',
    buildkitd_flags=("--oci-worker-gc=false",),
)
ROOTLESS = BuilderSettings(rootless=True, image=ROOTLESS_IMAGE, storage=Storage(memory="2Gi"))


def render(settings: BuilderSettings, platforms: str, facts: ClusterFacts = FACTS) -> list[dict[str, Any]]:
    """Everything that is made for a build, in the order of creation."""
    made = identity.make_identity(ORIGIN, suffix="x7k2p9wq", nonce="0123456789abcdef")
    location = find.locate_job_builder(made, settings)
    draft = BuilderSpec(identity=made, location=location, settings=settings, expires="2026-05-01T13:01:00Z")
    nodes = plan.make_plan([platform.parse_platform(name) for name in platforms.split()], facts, settings).nodes
    jobs = [objects.make_job(draft, node) for node in nodes]
    owners = [
        objects.make_job_owner_reference(
            {**job, "metadata": {**job["metadata"], "uid": f"uid-{job['metadata']['name']}"}}
        )
        for job in jobs
    ]
    rendered = [objects.make_namespace(draft)] if location.exclusive else []
    rendered += [*jobs, objects.make_job_secret(draft, CERTIFICATES, owners)]
    return [*rendered, objects.make_job_config_map(draft, owners)] if settings.buildkitd_config else rendered


@pytest.mark.parametrize(
    ("name", "settings", "platforms", "facts"),
    [
        ("plain", PLAIN, "", FACTS),
        ("two_architectures", PLAIN, "linux/amd64 linux/arm64", FACTS),
        ("rootless", ROOTLESS, "", FACTS),
        ("every_option_in_an_existing_namespace", FULL, "linux/amd64 linux/arm64", ClusterFacts()),
    ],
)
def test_golden(name: str, settings: BuilderSettings, platforms: str, facts: ClusterFacts) -> None:
    text = yaml.safe_dump_all(render(settings, platforms, facts), sort_keys=False, width=120)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("GOLDEN") == "rewrite":
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_full_has_every_option_of_the_pods() -> None:
    elsewhere = {"loadbalance", "default-load", "timeout", "reclaim", "user-namespaces"}
    not_with_the_others = {"rootless", "seccomp-profile", "apparmor-profile", "buildkit-root-volume-memory"}
    unset = {
        option.name
        for option in OPTIONS.values()
        if option.field and _read_field(FULL, option.field) == _read_field(BuilderSettings(), option.field)
    }
    assert unset == {*elsewhere, *not_with_the_others}
    assert set(dict(FULL.pod_fields)) == {option.pod_field for option in OPTIONS.values() if option.pod_field}


def test_owned_objects_have_one_order() -> None:
    """The preview and the creation both take it from here."""
    made = identity.make_identity(ORIGIN, suffix="x7k2p9wq", nonce="0123456789abcdef")
    settings = replace(FULL, pull_login=True, network=NetworkIsolation())
    location = find.locate_job_builder(made, settings)
    draft = BuilderSpec(identity=made, location=location, settings=settings, expires="2026-05-01T13:01:00Z")
    owned = list(objects.make_owned_objects(draft, [], certificates=CERTIFICATES, pull_login=Secret("{}")))
    namespace = "/namespaces/ci-builds"
    assert [(path, manifest["kind"]) for path, manifest in owned] == [
        (f"/api/v1{namespace}/secrets", "Secret"),
        (f"/apis/networking.k8s.io/v1{namespace}/networkpolicies", "NetworkPolicy"),
        (f"/api/v1{namespace}/configmaps", "ConfigMap"),
        (f"/api/v1{namespace}/secrets", "Secret"),
    ]
    assert owned[0][1]["type"] == "kubernetes.io/dockerconfigjson"
    plain = replace(draft, settings=PLAIN)
    (only,) = objects.make_owned_objects(plain, [], certificates=CERTIFICATES, pull_login=None)
    assert set(only[1]["data"]) >= {"client.pem", "server.pem"}


def _read_field(settings: BuilderSettings, path: str) -> object:
    return reduce(getattr, path.split("."), settings)


def test_the_pod_never_sees_the_clients_key() -> None:
    (_, job, secret) = render(PLAIN, "")
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    mounted = {item["key"] for item in volumes["certificates"]["secret"]["items"]}
    assert mounted == {"ca.pem", "server.pem", "server-key.pem"}
    assert set(secret["data"]) - mounted == {"client.pem", "client-key.pem"}


def test_every_object_is_marked_and_expires() -> None:
    for manifest in render(FULL, "linux/amd64"):
        metadata = manifest["metadata"]
        assert metadata["labels"]["kube-builder.dev/builder"] == "kube-builder-hello-12fea21e-x7k2p9wq"
        assert metadata["annotations"]["kube-builder.dev/expires"] == "2026-05-01T13:01:00Z"


def test_names_in_an_existing_namespace_begin_with_the_builders() -> None:
    for manifest in render(FULL, "linux/amd64 linux/arm64"):
        assert manifest["metadata"]["name"].startswith("kube-builder-hello-12fea21e-x7k2p9wq-")
