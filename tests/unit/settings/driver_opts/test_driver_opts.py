"""The driver options in buildx's syntax: what each becomes, and the exact line that refuses the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import (
    BuilderProxy,
    BuilderSettings,
    Confinement,
    LoadBalance,
    NetworkIsolation,
    Qemu,
    Reclaim,
    Registries,
    ReplicaRange,
    Storage,
    Toleration,
    UserNamespaces,
)
from ci_buildx.settings.driver_opts.parse import parse_driver_opts
from ci_buildx.settings.driver_opts.strategic_merge import merge_patch
from tests.unit.settings.certificate import PEM


def read(*texts: str, cwd: Path | None = None, **env: str) -> BuilderSettings:
    return parse_driver_opts(texts, source="--driver-opt", env=env, cwd=cwd)


def refusal(*texts: str, cwd: Path | None = None, **env: str) -> str:
    with pytest.raises(InputError) as caught:
        read(*texts, cwd=cwd, **env)
    return str(caught.value)


def test_the_last_of_a_name_counts_and_empty_ones_do_not() -> None:
    builder = read("replicas=2,image=,namespace=ci", "replicas=3", "namespace=")
    assert builder == BuilderSettings(replicas=3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Docker's page on the driver, its examples as a shell hands them over.
        ("namespace=buildkit,replicas=4", {"namespace": "buildkit", "replicas": 4}),
        ("replicas=2..20", {"replicas": 2, "scaling": ReplicaRange(least=2, most=20)}),
        (
            "replicas=0..3,idle-timeout=1m",
            {"replicas": 1, "scaling": ReplicaRange(least=0, most=3, idle=60.0)},
        ),
        ("metrics-port=9100", {"metrics_port": 9100}),
        ("metrics-port=0", {}),
        ("max-builds=0,loadbalance=least", {"max_builds": 0, "loadbalance": LoadBalance.LEAST}),
        (
            '"nodeselector=label1=value1,label2=value2","tolerations=key=key1,value=value1"',
            {
                "nodeselector": (("label1", "value1"), ("label2", "value2")),
                "tolerations": (Toleration(key="key1", value="value1"),),
            },
        ),
        ('"nodeselector=kubernetes.io/arch=arm64"', {"nodeselector": (("kubernetes.io/arch", "arm64"),)}),
        (
            '"tolerations=key=foo,value=bar;key=foo2,operator=exists;key=foo3,effect=NoSchedule"',
            {
                "tolerations": (
                    Toleration(key="foo", value="bar"),
                    Toleration(key="foo2", operator="Exists"),
                    Toleration(key="foo3", effect="NoSchedule"),
                )
            },
        ),
        ("namespace=buildkit,qemu.install=true", {"namespace": "buildkit", "qemu": Qemu(install=True)}),
        ("rootless=true", {"rootless": True, "image": "moby/buildkit:buildx-stable-1-rootless"}),
        # What buildx takes besides.
        ("image=moby/buildkit:v0.34.2,timeout=3m", {"image": "moby/buildkit:v0.34.2", "timeout": 180}),
        ("rootless=true,image=mine", {"rootless": True, "image": "mine"}),
        ("default-load=1", {"default_load": True}),
        ("requests.cpu=500m,limits.cpu=2", {"requests": (("cpu", "500m"),), "limits": (("cpu", "2"),)}),
        (
            "requests.ephemeral-storage=1Gi,limits.memory=1G",
            {"requests": (("ephemeral-storage", "1Gi"),), "limits": (("memory", "1G"),)},
        ),
        ('"annotation=a.example/x=1,y=2=3"', {"annotations": (("a.example/x", "1"), ("y", "2=3"))}),
        ("annotations=x=", {"annotations": (("x", ""),)}),
        ('"labels=team=images,tier="', {"labels": (("team", "images"), ("tier", ""))}),
        (
            "serviceaccount=builder,schedulername=packs",
            {"pod_fields": (("serviceAccountName", "builder"), ("schedulerName", "packs"))},
        ),
        ("loadbalance=random", {"loadbalance": LoadBalance.RANDOM}),
        ("qemu.install=true,qemu.image=mine:1", {"qemu": Qemu(install=True, image="mine:1")}),
        (
            '"tolerations=key=a,operator=EQUAL,value=b,effect=noexecute,tolerationSeconds=30"',
            {"tolerations": (Toleration(key="a", operator="Equal", value="b", effect="NoExecute", seconds=30),)},
        ),
        ("tolerations=operator=Exists", {"tolerations": (Toleration(operator="Exists"),)}),
        ("persistent-volume-claim.requests.storage=9Gi", {"storage": Storage(claimed="9Gi")}),
        ("buildkit-root-volume-memory=2Gi", {"storage": Storage(memory="2Gi")}),
        ("env.A=1,env.b.c=x=y", {"env": (("A", "1"), ("b.c", "x=y"))}),
        # Ours.
        (
            "persistent-volume-claim.requests.storage=9Gi,storage-class=fast,reclaim=retain",
            {"storage": Storage(claimed="9Gi", storage_class="fast", reclaim=Reclaim.RETAIN)},
        ),
        ('"image-pull-secrets=a,auto,b"', {"pull_secrets": ("a", "b"), "pull_login": True}),
        ("user-namespaces=true", {"user_namespaces": UserNamespaces.TRUE}),
        (
            "rootless=true,image=x,seccomp-profile=localhost/buildkit.json,apparmor-profile=default",
            {
                "rootless": True,
                "image": "x",
                "confinement": Confinement(seccomp="localhost/buildkit.json", apparmor=""),
            },
        ),
        ("priority-class=high,grace-period=2m", {"pod_fields": (("priorityClassName", "high"),), "grace_period": 120}),
        ("dns-policy=ClusterFirst", {"pod_fields": (("dnsPolicy", "ClusterFirst"),)}),
        ("dns-policy=ClusterFirstWithHostNet", {"pod_fields": (("dnsPolicy", "ClusterFirstWithHostNet"),)}),
        ("dns-policy=Default", {"pod_fields": (("dnsPolicy", "Default"),)}),
        ("dns-policy=", {}),
        ("proxy=false", {"proxy": None}),
        (
            '"registry-mirrors=docker.io=m.example;http://n.example:5000/hub,quay.io=q.example"',
            {
                "registries": Registries(
                    mirrors=(("docker.io", ("m.example", "http://n.example:5000/hub")), ("quay.io", ("q.example",)))
                )
            },
        ),
        (
            '"insecure-registries=r.example:5000,[::1]:5000"',
            {"registries": Registries(insecure=("r.example:5000", "[::1]:5000"))},
        ),
        ("network-policy=true", {"network": NetworkIsolation()}),
        (
            'network-policy=true,"runner-selector=app=runner"',
            {"network": NetworkIsolation(runners=(("app", "runner"),))},
        ),
        ('"pod-template={""spec"":{""hostNetwork"":true}}"', {"pod_template": {"spec": {"hostNetwork": True}}}),
    ],
)
def test_options(text: str, expected: dict[str, Any]) -> None:
    assert read(text) == BuilderSettings(**expected)


def test_files_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    (tmp_path / "pod.yaml").write_text("metadata:\n  labels: {team: images}\nspec:\n  priority: 7\n")
    builder = read(
        "ca-certificates=ca.pem,pod-template=pod.yaml,proxy=true",
        cwd=tmp_path,
        https_proxy="http://user:pass@proxy.example:3128",
        NO_PROXY="a.example, 10.0.0.0/8",
    )
    assert builder.registries.certificates == PEM
    assert builder.pod_template == {"metadata": {"labels": {"team": "images"}}, "spec": {"priority": 7}}
    https = Secret("http://user:pass@proxy.example:3128")
    assert builder.proxy == BuilderProxy(https=https, no_proxy=("a.example", "10.0.0.0/8"))
    assert "pass" not in repr(builder)


def test_resources_of_several_options_are_compared() -> None:
    base = read("limits.cpu=1")
    with pytest.raises(InputError, match=r"requests\.cpu '2' is more than limits\.cpu '1'"):
        parse_driver_opts(["requests.cpu=2"], source="x", base=base)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replica=2", ": unknown option 'replica'; did you mean 'replicas'?"),
        ("cpu=2", ": unknown option 'cpu'; did you mean 'requests.cpu'?"),
        ("memory=2Gi", ": unknown option 'memory'; did you mean 'limits.memory'?"),
        ("request.cpu=2", ": unknown option 'request.cpu'; did you mean 'requests.cpu'?"),
        ("Rootless=true", ": unknown option 'Rootless'; did you mean 'rootless'?"),
        ("env.=1", ": unknown option 'env.'; known: image, namespace, "),
        ("image", ": option 'image' has no value; write image=…"),
        ("nodeselector=a=b,c=d", ": unknown option 'c' after nodeselector; quote it: '\"nodeselector=a=b,c=d\"'"),
        (
            "tolerations=key=a,value=b",
            ": unknown option 'value' after tolerations; quote it: '\"tolerations=key=a,value=b\"'",
        ),
        ('"nodeselector=a=b', ": misplaced quote in '\"nodeselector=a=b'; quote the whole option: '\"name=a,b\"'"),
        ("nodeselector=a", " nodeselector: 'a' is not key=value"),
        ("nodeselector=-a=b", " nodeselector: '-a' is not a valid label name"),
        ("labels=a=b c", " labels: 'b c' is not a valid label value"),
        ("labels=app=x", " labels: label 'app' is reserved; choose another name"),
        (
            "labels=kube-builder.dev/builder=x",
            " labels: label 'kube-builder.dev/builder' is reserved; choose another name",
        ),
        (
            "annotations=buildx.docker.com/platform=x",
            " annotations: annotation 'buildx.docker.com/platform' is reserved; choose another name",
        ),
        ("annotations=a b=x", " annotations: 'a b' is not a valid annotation name"),
        ("replicas=0", " replicas: 0 is not a whole number of at least 1"),
        ("replicas=0..0", " replicas: 0..0 is not a whole number of at least 1"),
        ("replicas=3..2", " replicas: '3..2' is not a range of replicas; write it like 2..20; the maximum is 1000"),
        ("replicas=2..x", " replicas: '2..x' is not a range of replicas; write it like 2..20; the maximum is 1000"),
        ("replicas=2..9999", " replicas: '2..9999' is not a range of replicas; write it like 2..20; the maximum is"),
        ("metrics-port=80", " metrics-port: 80 is not a port from 1024 to 65535, other than 1234; set 6060"),
        ("metrics-port=1234", " metrics-port: 1234 is not a port from 1024 to 65535, other than 1234; set 6060"),
        ("max-builds=-1", " max-builds: '-1' is not a whole number"),
        ("max-builds=2000", " max-builds: 2000 is not a whole number from 0 to 1000"),
        (
            "replicas=2,idle-timeout=5m",
            " idle-timeout: has no effect on a fixed number of replicas; add a range of replicas, such as replicas=2..",
        ),
        ("replicas=two", " replicas: 'two' is not a whole number"),
        (
            "namespace=My",
            " namespace: invalid namespace 'My'; use 1 to 63 characters: a-z, 0-9 and, except at the ends, '-'",
        ),
        ("image=Moby", " image: invalid image 'Moby': repository name 'Moby' must be lower-case"),
        ("requests.cpu=2,limits.cpu=1", ": requests.cpu '2' is more than limits.cpu '1'"),
        ("timeout=soon", " timeout: 'soon' is not a duration; write it like 90s, 2m or 1h30m"),
        ("limits.memory=2GB", " limits.memory: unknown unit 'GB' in quantity '2GB'; did you mean 'G'?"),
        ("rootless=maybe", " rootless: 'maybe' is neither true nor false; write true or false"),
        ("loadbalance=stiky", " loadbalance: unknown value 'stiky'; did you mean 'sticky'?"),
        ("dns-policy=clusterfirst", " dns-policy: unknown value 'clusterfirst'; did you mean 'ClusterFirst'?"),
        (
            "dns-policy=node",
            " dns-policy: unknown value 'node'; known: ClusterFirst, ClusterFirstWithHostNet, Default",
        ),
        (
            "dns-policy=None",
            (
                " dns-policy: None needs a dnsConfig, which this option cannot set; "
                "set dnsPolicy and dnsConfig in driver-opt pod-template"
            ),
        ),
        ("tolerations=kee=a", " tolerations: unknown field 'kee'; did you mean 'key'?"),
        (
            '"tolerations=key=a,operator=exist"',
            " tolerations: unknown operator 'exist'; did you mean 'Exists'?",
        ),
        (
            '"tolerations=key=a,operator=exists,value=b"',
            " tolerations: operator=Exists does not accept a value: 'b'",
        ),
        (
            "tolerations=value=b",
            " tolerations: toleration has no key; add key=…, or operator=Exists to tolerate every taint",
        ),
        (
            '"tolerations=key=a,tolerationSeconds=3"',
            " tolerations: tolerationSeconds requires effect=NoExecute",
        ),
        ("serviceaccount=Me", " serviceaccount: 'Me' is not a valid object name"),
        (
            "storage-class=fast",
            ": storage-class has no effect without a volume; add persistent-volume-claim.requests.storage",
        ),
        (
            "buildkit-root-volume-memory=1Gi,persistent-volume-claim.requests.storage=1Gi",
            (
                ": buildkit-root-volume-memory conflicts with persistent-volume-claim.requests.storage; "
                "omit one: the state is either in memory or in a volume"
            ),
        ),
        (
            "rootless=true,user-namespaces=true",
            (
                ": rootless=true conflicts with user-namespaces=true; "
                "omit one: each alone avoids root on the cluster node, and rootlesskit "
                "needs IDs that a user namespace does not have"
            ),
        ),
        (
            "seccomp-profile=localhost/x",
            (
                ": seccomp-profile and apparmor-profile have no effect without rootless=true; "
                "add rootless=true or omit them: Kubernetes does not confine privileged containers"
            ),
        ),
        (
            "seccomp-profile=localhost/../x",
            (
                " seccomp-profile: 'localhost/../x' is not a profile; "
                "write unconfined, runtime/default, localhost/NAME, or default to leave it to the cluster"
            ),
        ),
        ("proxy=true", " proxy: neither HTTP_PROXY nor HTTPS_PROXY is set; set one of them"),
        ("registry-mirrors=docker.io=", " registry-mirrors: 'docker.io' has no mirror; write docker.io=mirror.example"),
        ("registry-mirrors=x=a b", " registry-mirrors: 'a b' is not a mirror; write it like mirror.example/path"),
        (
            "insecure-registries=http://x",
            " insecure-registries: 'http://x' is not a registry host; write it like host:5000",
        ),
        ("runner-selector=a=b", " runner-selector: has no effect without network-policy=true; add network-policy=true"),
        ("ca-certificates=none.pem", " ca-certificates: cannot read 'none.pem': No such file or directory"),
        ("pod-template={", " pod-template: 1:2: "),
        ("pod-template={}", ""),
        (
            '"pod-template={""spce"":{}}"',
            " pod-template: unknown field 'spce'; did you mean 'spec'?",
        ),
        (
            '"pod-template={""metadata"":{""labels"":{""app"":""x""}}}"',
            " pod-template: label 'app' is reserved; choose another name",
        ),
        (
            '"pod-template={""spec"":{""containers"":[{""image"":""x""}]}}"',
            " pod-template: spec.containers[0] has no name, which is its merge key",
        ),
        (
            '"pod-template={""spec"":{""$deleteFromPrimitiveList/x"":[]}}"',
            (" pod-template: spec.$deleteFromPrimitiveList/x is an unknown directive; known: $patch, $retainKeys"),
        ),
    ],
)
def test_refuses(text: str, message: str, tmp_path: Path) -> None:
    if not message:
        assert read(text) == BuilderSettings()
        return
    assert refusal(text, cwd=tmp_path).startswith(f"--driver-opt{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata: {labels: {version: 1.5}}", "metadata.labels.version is 1.5, which is not a string; quote it"),
        ("spec: {x: 2026-01-01}", "spec.x is a date, which JSON does not support; quote it"),
        ("spec: &a\n  x: *a", "pod.yaml: an alias contains itself"),
        ("[1]", "'pod.yaml' must be a mapping; write names and values, 'name: value'"),
        ("a: [", "pod.yaml:2:1: expected the node content, but found '<stream end>'"),
    ],
)
def test_pod_templates_that_no_api_takes(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(f"{text}\n")
    assert refusal("pod-template=pod.yaml", cwd=tmp_path) == f"--driver-opt pod-template: {message}"


def test_marks_in_a_pod_template_may_be_called_as_fields_are(tmp_path: Path) -> None:
    words = "{env: prod, ports: none, volumes: a}"
    (tmp_path / "pod.yaml").write_text(
        f"metadata: {{labels: {words}, annotations: {words}}}\n"
        f"spec:\n  nodeSelector: {words}\n"
        f"  topologySpreadConstraints: [{{topologyKey: zone, labelSelector: {{matchLabels: {words}}}}}]\n"
        f"  containers: [{{name: buildkitd, resources: {{limits: {{volumes: 1}}}}}}]\n"
    )
    merged = merge_patch(
        {"metadata": {"labels": {"env": "test", "a": "1"}}}, read("pod-template=pod.yaml", cwd=tmp_path).pod_template
    )
    assert merged["metadata"]["labels"] == {"env": "prod", "a": "1", "ports": "none", "volumes": "a"}
    assert merged["spec"]["nodeSelector"] == {"env": "prod", "ports": "none", "volumes": "a"}


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    assert refusal("ca-certificates=ca.pem", cwd=tmp_path) == (
        "--driver-opt ca-certificates: ca.pem contains no PEM certificate; "
        "name files with '-----BEGIN CERTIFICATE-----'"
    )
