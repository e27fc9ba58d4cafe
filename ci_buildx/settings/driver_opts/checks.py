"""Checks of driver options' values, and the labels and annotations that kube-builder and Kubernetes reserve.

Every check raises InputError, which names ``source``, for an invalid value; most return the checked value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.hosts import is_host
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings.builder import MOST_BUILDS, Pairs, Toleration
from ci_buildx.settings.names import is_label_name, is_label_value, is_object_name, suggest_name
from ci_buildx.settings.syntax import parse_duration

RESOURCES = {
    "cpu": "CPU cores: `2`, `500m`",
    "memory": "bytes: `4Gi`",
    "ephemeral-storage": "bytes on the cluster node's disk, where the state is by default",
}
"""Resources that a pod can request or be limited to, with the meaning of their amounts."""
LABELS = (
    "kube-builder.dev/",
    "app.kubernetes.io/managed-by",
    # Selects the pods of a Deployment, as in buildx.
    "app",
    # Set and read by the controllers of Kubernetes 1.34.
    "batch.kubernetes.io/",
    "apps.kubernetes.io/",
    "statefulset.kubernetes.io/",
    "controller-uid",
    "job-name",
    "pod-template-hash",
    "controller-revision-hash",
)
"""Reserved names, and (with ``/``) prefixes of reserved domains: builders are found and counted by them."""
ANNOTATIONS = (
    "kube-builder.dev/",
    "buildx.docker.com/platform",
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
)


def refuse_reserved_labels(names: Iterable[str], *, source: str) -> None:
    """Raise InputError for the first reserved label."""
    _refuse_reserved(names, LABELS, "label", source)


def refuse_reserved_annotations(names: Iterable[str], *, source: str) -> None:
    """Raise InputError for the first reserved annotation."""
    _refuse_reserved(names, ANNOTATIONS, "annotation", source)


def _refuse_reserved(names: Iterable[str], reserved: tuple[str, ...], kind: str, source: str) -> None:
    for name in names:
        for one in reserved:
            if name == one or (one.endswith("/") and name.startswith(one)):
                raise InputError(f"{kind} {name!r} is reserved", source=source, fix="choose another name")


Choice = TypeVar("Choice", bound=StrEnum)
_MOST_REPLICAS = 2**31 - 1
_MOST_ELASTIC = 1000
_MOST_DIGITS = 11
_FIRST_PORT, _LAST_PORT, _MTLS_PORT = 1024, 65535, 1234
_HOST_TEXT = r"[A-Za-z0-9_.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?"
_VARIABLE = compile_lazily(r"[^=\0]+")
_HOST = compile_lazily(_HOST_TEXT)
_MIRROR = compile_lazily(rf"(?:https?://)?(?:{_HOST_TEXT})(?:/[A-Za-z0-9_./-]*)?")
_PROFILE = compile_lazily(r"unconfined|runtime/default|default|localhost/[A-Za-z0-9_][A-Za-z0-9_./-]*")
TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")
"""Fields of a toleration."""
OPERATORS = ("Equal", "Exists")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
"""Operators and effects of tolerations."""
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default")


def check_choice(text: str, choices: type[Choice] | tuple[str, ...], *, source: str) -> Choice | str:
    """Check a value of a closed set, and return it: a member if ``choices`` is an enumeration."""
    known = [str(choice) for choice in choices]
    if text not in known:
        raise InputError(f"unknown value {text!r}", source=source, fix=suggest_name(text, known))
    return text if isinstance(choices, tuple) else choices(text)


def check_image(text: str, *, source: str) -> str:
    """Check an image reference; return it as typed."""
    try:
        reference.parse_reference(text)
    except ValueError as error:
        raise InputError(f"invalid image {text!r}: {error}", source=source) from error
    return text


def check_replicas(value: int | str, *, source: str) -> int:
    """Return the number of pods to begin with: the number itself, or the minimum of a range, but at least one."""
    return max(parse_replicas(value, source=source)[0], 1)


def parse_replicas(value: int | str, *, source: str) -> tuple[int, int]:
    """Return the least and the most replicas of a number of at least 1, or of a range ``MIN..MAX``."""
    least, dots, most = (part.strip() for part in str(value).partition(".."))
    numbers = [int(text) if text.isdecimal() and len(text) < _MOST_DIGITS else -1 for text in (least, most or least)]
    if dots and not 0 <= numbers[0] <= numbers[1] <= _MOST_ELASTIC:
        fix = f"write it like 2..20; the maximum is {_MOST_ELASTIC}"
        raise InputError(f"{value!r} is not a range of replicas", source=source, fix=fix)
    if not dots and numbers[0] < 0:
        raise InputError(f"{value!r} is not a whole number", source=source)
    if (not dots and not 1 <= numbers[0] <= _MOST_REPLICAS) or numbers[1] < 1:
        raise InputError(f"{value} is not a whole number of at least 1", source=source)
    return numbers[0], numbers[1]


def check_most_builds(count: int, *, source: str) -> int:
    """Check a maximum of concurrent builds: 0 for any number."""
    if not 0 <= count <= MOST_BUILDS:
        raise InputError(f"{count} is not a whole number from 0 to {MOST_BUILDS}", source=source)
    return count


def check_metrics_port(port: int, *, source: str) -> int:
    """Check the port of buildkitd's metrics: 0 for none. A rootless buildkitd cannot use ports below 1024."""
    if port and (not _FIRST_PORT <= port <= _LAST_PORT or port == _MTLS_PORT):
        text = f"{port} is not a port from {_FIRST_PORT} to {_LAST_PORT}, other than {_MTLS_PORT}"
        raise InputError(text, source=source, fix="set 6060")
    return port


def check_selector(pairs: Mapping[str, str], *, source: str) -> Pairs:
    """Check labels to search for, by Kubernetes' rules for labels."""
    for key, value in pairs.items():
        if not is_label_name(key):
            raise InputError(f"{key!r} is not a valid label name", source=source)
        if not is_label_value(value):
            raise InputError(f"{value!r} is not a valid label value", source=source)
    return tuple(pairs.items())


def check_labels(pairs: Mapping[str, str], *, source: str) -> Pairs:
    """Check labels to set: valid in Kubernetes and not reserved."""
    refuse_reserved_labels(pairs, source=source)
    return check_selector(pairs, source=source)


def check_annotations(pairs: Mapping[str, str], *, source: str) -> Pairs:
    """Check annotations to set: valid, unreserved names; values are arbitrary."""
    refuse_reserved_annotations(pairs, source=source)
    for key in pairs:
        if not is_label_name(key):
            raise InputError(f"{key!r} is not a valid annotation name", source=source)
    return tuple(pairs.items())


def check_tolerations(items: Sequence[Mapping[str, Any]], *, source: str) -> tuple[Toleration, ...]:
    """Check tolerations as k8s.io/kubernetes v1.34.2 ``pkg/apis/core/validation/validation.go`` (ValidateTolerations).

    Operators and effects are accepted in any case.
    """
    return tuple(_check_toleration(item, source) for item in items)


def _check_toleration(item: Mapping[str, Any], source: str) -> Toleration:
    toleration = Toleration(
        key=str(item.get("key", "")),
        operator=_check_word(str(item.get("operator", "")), OPERATORS, "operator", source),
        value=str(item.get("value", "")),
        effect=_check_word(str(item.get("effect", "")), EFFECTS, "effect", source),
        seconds=item.get("tolerationSeconds"),
    )
    if toleration.key and not is_label_name(toleration.key):
        raise InputError(f"{toleration.key!r} is not a valid taint key", source=source)
    if not is_label_value(toleration.value):
        raise InputError(f"{toleration.value!r} is not a valid taint value", source=source)
    if toleration.operator == "Exists" and toleration.value:
        raise InputError(f"operator=Exists does not accept a value: {toleration.value!r}", source=source)
    if not toleration.key and toleration.operator != "Exists":
        raise InputError(
            "toleration has no key", source=source, fix="add key=…, or operator=Exists to tolerate every taint"
        )
    if toleration.seconds is not None and toleration.effect != "NoExecute":
        raise InputError("tolerationSeconds requires effect=NoExecute", source=source)
    return toleration


def _check_word(text: str, known: Sequence[str], kind: str, source: str) -> str:
    for word in known:
        if text.lower() == word.lower():
            return word
    if text:
        raise InputError(f"unknown {kind} {text!r}", source=source, fix=suggest_name(text, known))
    return ""


def check_object_name(text: str, *, source: str) -> str:
    """Check the name of an existing object."""
    if not is_object_name(text):
        raise InputError(f"{text!r} is not a valid object name", source=source)
    return text


def check_storage(text: str, *, source: str) -> str:
    """Check an amount of bytes; return it as typed."""
    from ci_buildx.settings.syntax import parse_quantity

    parse_quantity(text, source=source, whole=True)
    return text


def check_amount(text: str, resource: str, *, source: str) -> str:
    """Check an amount of a resource; return it as typed. Only ``cpu`` may have fractions."""
    from ci_buildx.settings.syntax import parse_quantity

    parse_quantity(text, source=source, whole=resource != "cpu")
    return text


def check_resources(requests: Pairs, limits: Pairs, *, source: str) -> None:
    """Raise InputError if a request exceeds its limit, for which the API server would reject the pod.

    All values must be quantities.
    """
    from ci_buildx.settings.syntax import parse_quantity

    for name in RESOURCES:
        texts = {
            kind: dict(pairs)[name]
            for kind, pairs in (("requests", requests), ("limits", limits))
            if name in dict(pairs)
        }
        amounts = {
            kind: parse_quantity(text, source=f"{source} {kind}.{name}", whole=name != "cpu")
            for kind, text in texts.items()
        }
        if len(amounts) == 2 and amounts["requests"] > amounts["limits"]:
            raise InputError(
                f"requests.{name} {texts['requests']!r} is more than limits.{name} {texts['limits']!r}", source=source
            )


def check_variable(name: str, *, source: str) -> str:
    """Check the name of a variable: any characters but ``=`` (Kubernetes 1.34 accepts all printable ones)."""
    if not _VARIABLE.fullmatch(name) or not name.isprintable():
        raise InputError(f"{name!r} is not a valid variable name", source=source)
    return name


def check_mirrors(mirrors: Mapping[str, Sequence[str]], *, source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Check mirrors by the registry's host, in the order to try."""
    check_hosts(tuple(mirrors), source=source)
    for host, texts in mirrors.items():
        if not texts:
            raise InputError(f"{host!r} has no mirror", source=source, fix=f"write {host}=mirror.example")
        for text in texts:
            if not _MIRROR.fullmatch(text):
                raise InputError(f"{text!r} is not a mirror", source=source, fix="write it like mirror.example/path")
    return tuple((host, tuple(texts)) for host, texts in mirrors.items())


def check_hosts(hosts: Sequence[str], *, source: str) -> tuple[str, ...]:
    """Check hosts of registries, with a port unless it is the default."""
    for host in hosts:
        if not (_HOST.fullmatch(host) and is_host(host)):
            raise InputError(f"{host!r} is not a registry host", source=source, fix="write it like host:5000")
    return tuple(hosts)


def check_profile(text: str, *, source: str) -> str:
    """Check a profile in the terms of Kubernetes' annotations; ``default`` becomes "", the cluster's default."""
    if not _PROFILE.fullmatch(text) or ".." in text.split("/"):
        fix = "write unconfined, runtime/default, localhost/NAME, or default to leave it to the cluster"
        raise InputError(f"{text!r} is not a profile", source=source, fix=fix)
    return "" if text == "default" else text


def check_dns_policy(text: str, *, source: str) -> str:
    """Check a DNS policy as k8s.io/kubernetes v1.34.2 ``pkg/apis/core/validation/validation.go`` (validateDNSPolicy).

    ``None`` is refused: its nameservers are in ``dnsConfig`` (validatePodDNSConfig), which only a pod template can set.
    """
    if text == "None":
        fix = "set dnsPolicy and dnsConfig in driver-opt pod-template"
        raise InputError("None needs a dnsConfig, which this option cannot set", source=source, fix=fix)
    return check_choice(text, DNS_POLICIES, source=source)


def check_seconds(text: str, *, source: str) -> int:
    """Parse a duration into whole seconds, at least one."""
    return max(1, round(parse_duration(text, source=source)))
