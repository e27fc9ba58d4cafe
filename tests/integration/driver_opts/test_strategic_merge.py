"""Our strategic merge beside the API server's, which is the reference: the same template, patched by both."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.settings.driver_opts.strategic_merge import merge_patch
from devcluster import accounts

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}, "annotations": {"note": "x"}},
    "spec": {
        "nodeSelector": {"pool": "ci", "disk": "ssd"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "one"}],
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a"]}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"a": "1"}},
            }
        ],
        "containers": [
            {
                "name": "buildkitd",
                "image": "x",
                "args": ["--one"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 1234, "name": "mtls", "protocol": "TCP"}],
                "volumeMounts": [{"name": "state", "mountPath": "/state"}, {"name": "keys", "mountPath": "/keys"}],
                "securityContext": {"privileged": True},
            }
        ],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "keys"}}],
    },
}
BUILDKITD = "buildkitd"
PATCHES: dict[str, dict[str, Any]] = {
    "marks": {"metadata": {"labels": {"b": "2"}, "annotations": {"note": None, "more": "y"}}},
    "marks called as fields are": {
        "metadata": {"labels": {"env": "x", "ports": "y"}},
        "spec": {"nodeSelector": {"volumes": "z"}},
    },
    "maps": {"spec": {"nodeSelector": {"disk": "hdd", "new": "x", "pool": None}}},
    "a list without a key is replaced": {"spec": {"tolerations": [{"key": "b", "operator": "Exists"}]}},
    "a sidecar": {"spec": {"containers": [{"name": "side", "image": "y"}]}},
    "a container's parts": {
        "spec": {
            "containers": [
                {
                    "name": BUILDKITD,
                    "args": ["--two"],
                    "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
                    "resources": {"limits": {"cpu": "1"}},
                    "volumeMounts": [{"mountPath": "/state", "name": "state", "subPath": "x"}],
                    "ports": [{"containerPort": 1234, "name": "other"}, {"containerPort": 99}],
                }
            ]
        }
    },
    "removal by directive": {
        "spec": {
            "containers": [
                {"name": BUILDKITD, "env": [{"name": "A", "$patch": "delete"}], "securityContext": {"privileged": None}}
            ],
            "imagePullSecrets": [{"name": "one", "$patch": "delete"}, {"name": "two"}],
        }
    },
    "replacement by directive": {
        "spec": {
            "nodeSelector": {"$patch": "replace", "only": "this"},
            "hostAliases": [{"$patch": "replace"}, {"ip": "192.0.2.2", "hostnames": ["b"]}],
        }
    },
    "a volume's source": {
        "spec": {"volumes": [{"name": "state", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}
    },
    "spread": {
        "spec": {
            "topologySpreadConstraints": [
                {"topologyKey": "kubernetes.io/hostname", "maxSkew": 2},
                {
                    "topologyKey": "topology.kubernetes.io/zone",
                    "maxSkew": 1,
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"a": "1"}},
                },
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}]
                    }
                }
            },
            "runtimeClassName": "kata",
        }
    },
}


@pytest.fixture(scope="module")
def author(
    kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeClient]:
    """A client that may write PodTemplates in its namespace."""
    folder = tmp_path_factory.mktemp("author")
    with accounts.outsider(kube, cluster, namespace, "author", folder) as account:
        account.grant(namespace, "", "podtemplates", "create", "patch")
        with account.client() as client:
            yield client


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_it_merges_as_the_api_server_does(patch: dict[str, Any], author: KubeClient, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/podtemplates"
    name = f"merged-{secrets.token_hex(4)}"
    before = author.create(path, {"metadata": {"name": name}, "template": TEMPLATE})["template"]
    theirs = author.patch(f"{path}/{name}", {"template": patch}, kind="strategic")["template"]
    merged = {"metadata": {"name": f"{name}-ours"}, "template": merge_patch(before, patch)}
    ours = author.create(path, merged, dryRun="All")["template"]
    assert ordered(ours) == ordered(theirs)


def ordered(value: Any) -> Any:
    """Lists of objects by what they are called: where a new one is put is nobody's promise."""
    if isinstance(value, dict):
        return {key: ordered(item) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return sorted((ordered(item) for item in value), key=repr)
    return value
