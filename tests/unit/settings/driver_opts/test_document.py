"""The structured form: YAML says what the driver options say, and each error has its line."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.settings import assembly
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.driver_opts.document import find_faults, read_document
from ci_buildx.settings.driver_opts.parse import parse_document, parse_driver_opts, read_text, write_text
from ci_buildx.settings.driver_opts.schema import make_schema
from ci_buildx.settings.driver_opts.table import ENV, OPTIONS, OptionShape, find_option
from tests.unit.settings.certificate import PEM

WHOLE = """
image: registry.example/buildkit:1
namespace: ci
replicas: 2..4
idle-timeout: 90
max-builds: 3
metrics-port: 6060
loadbalance: random
default-load: true
timeout: 3m
requests: {cpu: 0.5, memory: 4Gi, ephemeral-storage: 1Gi}
limits: {cpu: 2, memory: 8Gi, ephemeral-storage: 10Gi}
nodeselector: {label1: value1, kubernetes.io/arch: arm64}
tolerations:
  - {key: foo, value: bar}
  - {key: foo2, operator: exists}
  - {key: foo3, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
annotations: {team.example/note: "a=b"}
labels: {version: 1.10, tier: "no"}
serviceaccount: builder
schedulername: packs
priority-class: high
dns-policy: Default
env: {A: 1, B: "x,y", c.d: true}
user-namespaces: false
qemu: {install: true, image: "binfmt:1"}
persistent-volume-claim: {requests: {storage: 50Gi}}
storage-class: fast
reclaim: delete
image-pull-secrets: [a, auto]
registry-mirrors: {docker.io: [m.example, n.example], quay.io: q.example}
insecure-registries: r.example:5000
network-policy: true
runner-selector: {app: runner}
grace-period: 60
proxy: false
pod-template: {spec: {hostAliases: [{ip: 192.0.2.7, hostnames: [x]}]}}
"""
AS_OPTIONS = (
    "image=registry.example/buildkit:1,namespace=ci,replicas=2..4,idle-timeout=90,max-builds=3,loadbalance=random",
    "metrics-port=6060",
    "default-load=true,timeout=3m",
    "requests.cpu=0.5,requests.memory=4Gi,requests.ephemeral-storage=1Gi",
    "limits.cpu=2,limits.memory=8Gi,limits.ephemeral-storage=10Gi",
    '"nodeselector=label1=value1,kubernetes.io/arch=arm64"',
    (
        '"tolerations=key=foo,value=bar;key=foo2,operator=exists;'
        'key=foo3,operator=Exists,effect=NoExecute,tolerationSeconds=30"'
    ),
    '"annotations=team.example/note=a=b","labels=version=1.10,tier=no"',
    "serviceaccount=builder,schedulername=packs,priority-class=high,dns-policy=Default",
    'env.A=1,"env.B=x,y",env.c.d=true,user-namespaces=false,qemu.install=true,qemu.image=binfmt:1',
    "persistent-volume-claim.requests.storage=50Gi,storage-class=fast,reclaim=delete",
    '"image-pull-secrets=a,auto","registry-mirrors=docker.io=m.example;n.example,quay.io=q.example"',
    'insecure-registries=r.example:5000,network-policy=true,"runner-selector=app=runner",grace-period=60,proxy=false',
    '"pod-template={""spec"":{""hostAliases"":[{""ip"":""192.0.2.7"",""hostnames"":[""x""]}]}}"',
)
ELSEWHERE = {"rootless", "seccomp-profile", "apparmor-profile", "buildkit-root-volume-memory", "ca-certificates"}
"""What cannot be with the rest, or needs a file."""


def test_it_says_what_the_options_say() -> None:
    read = parse_document(WHOLE, source="x")
    assert read == parse_driver_opts(AS_OPTIONS, source="x")
    named = set(read_document(WHOLE, origin="x"))
    assert {name for name in OPTIONS if name not in named} == {ENV, *ELSEWHERE}


def test_it_is_written_as_options_again() -> None:
    for name, entry in read_document(WHOLE, origin="x").items():
        option, text = find_option(name), write_text(entry.value)
        assert option is not None
        shape = option.shape
        read = entry.value if shape is OptionShape.TEMPLATE else read_text(text, shape, source="x")
        assert write_text(read) == text
        assert (json.loads(text) if shape is OptionShape.TEMPLATE else read) == entry.value


def test_the_rest(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "rootless: true\nseccomp-profile: localhost/x.json\napparmor-profile: default\n"
        "buildkit-root-volume-memory: 2Gi\nca-certificates: ca.pem\n"
    )
    (tmp_path / "ca.pem").write_text(PEM)
    read = parse_document("b.yaml", source="--builder-config", cwd=tmp_path)
    options = "rootless=true,seccomp-profile=localhost/x.json,apparmor-profile=default,buildkit-root-volume-memory=2Gi"
    assert read == parse_driver_opts([options, "ca-certificates=ca.pem"], source="x", cwd=tmp_path)


def test_single_options_go_before_the_document(tmp_path: Path) -> None:
    values: dict[str, Any] = {"builder-config": "replicas: 2\nimage: x:1\nnamespace: a", "driver-opts": ["replicas=3"]}
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    builder = assembly.make_settings({**values, "context": "."}, {}, {}, tmp_path).builder
    assert builder == BuilderSettings(replicas=3, image="x:1", namespace="a")
    assert assembly.read_namespace(values, {}, {}, tmp_path) == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replicas: two\n", "b.yaml:1 replicas: 'two' is not a whole number"),
        ("image: a\n\nreplica: 2\n", "b.yaml:3 replica: unknown option 'replica'; did you mean 'replicas'?"),
        (
            "requests:\n  cpu: 1\n  memry: 2\n",
            "b.yaml:3 requests.memry: unknown option 'memry'; did you mean 'memory'?",
        ),
        ("requests.cpu: 2\n", "b.yaml:1 requests.cpu: unknown option 'requests.cpu'; did you mean 'requests'?"),
        ("image:\nreplicas: 1\n", "b.yaml:1 image: nothing is not a string"),
        ("rootless: yes\n", "b.yaml:1 rootless: 'yes' is not true or false"),
        ("replicas: 0\n", "b.yaml:1 replicas: 0 is not a whole number of at least 1"),
        ("loadbalance: stiky\n", "b.yaml:1 loadbalance: unknown value 'stiky'; did you mean 'sticky'?"),
        ("user-namespaces: never\n", "b.yaml:1 user-namespaces: unknown value 'never'; known: auto, true, false"),
        (
            "tolerations:\n  - {key: a, effect: NoExecute, tolerationSeconds: -1}\n",
            "b.yaml:2 tolerations[0].tolerationSeconds: -1 is less than 0",
        ),
        ("dns-policy: Defualt\n", "b.yaml:1 dns-policy: unknown value 'Defualt'; did you mean 'Default'?"),
        (
            "dns-policy: None\n",
            (
                "b.yaml:1 dns-policy: None needs a dnsConfig, which this option cannot set; "
                "set dnsPolicy and dnsConfig in driver-opt pod-template"
            ),
        ),
        (
            "tolerations:\n  - key: a\n  - key: b\n    operator: maybe\n",
            "b.yaml:4 tolerations[1].operator: 'maybe' is not `Equal` or `Exists`, in any case",
        ),
        ("labels:\n  app: x\n", "b.yaml:1 labels: label 'app' is reserved; choose another name"),
        ("timeout: soon\n", "b.yaml:1 timeout: 'soon' is not a duration; write it like 90s, 2m or 1h30m"),
        ("limits: {memory: 2GB}\n", "b.yaml:1 limits.memory: unknown unit 'GB' in quantity '2GB'; did you mean 'G'?"),
        ("[a]\n", "b.yaml:1: ['a'] is not a mapping"),
        ("1: 2\n", "b.yaml:1 1: the name 1 is not a string; quote it"),
        ("image: [\n", "b.yaml:2:1: expected the node content, but found '<stream end>'"),
        ("pod-template:\n  spce: {}\n", "b.yaml:1 pod-template: unknown field 'spce'; did you mean 'spec'?"),
        ("image: &a x\nnamespace: *b\n", "b.yaml:2:12: found undefined alias 'b'"),
    ],
)
def test_refuses(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        parse_document("b.yaml", source="--builder-config", cwd=tmp_path)
    assert str(caught.value) == message


def test_the_schema_is_valid_and_takes_what_is_taken() -> None:
    rules = make_schema()
    jsonschema.Draft202012Validator.check_schema(rules)
    jsonschema.validate(yaml.safe_load(WHOLE), rules)


NAMES = st.sampled_from([*make_schema()["properties"], "cpu", "storage", "install", "key", "operator", "replica"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["sticky", "auto", "Exists", "2Gi", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_it_judges_as_jsonschema_does(document: dict[str, Any]) -> None:
    rules = make_schema()
    ours = not list(find_faults(document, rules, rules))
    assert ours == jsonschema.Draft202012Validator(rules).is_valid(document)


@given(st.text(alphabet="abc:-[]{}&*!|>'\"\n 0123,#requestcpu", max_size=60) | st.builds(json.dumps, VALUES))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        parse_document(f"{text}\n", source="x", cwd=Path("/nonexistent"))
