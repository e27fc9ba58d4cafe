"""Driver options: the builder as the user wants it, in buildx's syntax.

Each text is one CSV value, so an option whose value holds commas is quoted as a whole:
``"nodeselector=a=b,c=d",replicas=2``. Names and meaning are those of buildx 0.38.2 (``driver/kubernetes/factory.go``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.pattern import pattern
from ci_buildx.model.record import replace
from ci_buildx.settings.csvline import split_fields
from ci_buildx.settings.durations import parse_duration
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.values import BuilderSettings

RESOURCES = ("cpu", "memory", "ephemeral-storage")
SUPPORTED = (
    "image",
    "namespace",
    "replicas",
    "nodeselector",
    *(f"requests.{resource}" for resource in RESOURCES),
    *(f"limits.{resource}" for resource in RESOURCES),
    "timeout",
)
OF_BUILDX = (
    "annotations",
    "buildkit-root-volume-memory",
    "default-load",
    "labels",
    "loadbalance",
    "persistent-volume-claim.requests.storage",
    "qemu.image",
    "qemu.install",
    "rootless",
    "schedulername",
    "serviceaccount",
    "tolerations",
)
_MOST_REPLICAS = 2**31 - 1
_NAMESPACE = pattern(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_NAME = pattern(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = pattern(r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


def parse_driver_opts(texts: Iterable[str], *, source: str, base: BuilderSettings | None = None) -> BuilderSettings:
    """The builder's settings with the options applied to ``base``; the last of a name counts, empty ones do not."""
    options = _read_options(texts, source)
    builder = base or BuilderSettings()
    if image := options.get("image"):
        builder = replace(builder, image=_check_image(image, source))
    if namespace := options.get("namespace"):
        builder = replace(builder, namespace=check_namespace(namespace, source=source))
    if replicas := options.get("replicas"):
        builder = replace(builder, replicas=_parse_replicas(replicas, source))
    if selector := options.get("nodeselector"):
        builder = replace(builder, nodeselector=parse_selector(selector, source=source))
    if timeout := options.get("timeout"):
        builder = replace(builder, timeout=parse_duration(timeout, source=f"{source} timeout"))
    return _apply_resources(builder, options, source)


def _read_options(texts: Iterable[str], source: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        try:
            fields = split_fields(text)
        except ValueError as error:
            raise InputError(str(error), source=source, fix="quote the whole option: '\"name=a,b\"'") from error
        previous = ""
        for field in fields:
            name, equals, value = field.partition("=")
            name = name.strip()
            _check_name(name, has_value=bool(equals), field=field, previous=previous, source=source)
            options[name] = value.strip()
            previous = field
    return options


def _check_name(name: str, *, has_value: bool, field: str, previous: str, source: str) -> None:
    if name in SUPPORTED and has_value:
        return
    if previous.startswith("nodeselector=") and name not in (*SUPPORTED, *OF_BUILDX):
        whole = f"{previous},{field}"
        raise InputError(f"unknown option {name!r} after nodeselector", source=source, fix=f"""quote it: '"{whole}"'""")
    if name in OF_BUILDX or name.startswith("env."):
        raise InputError(
            f"option {name!r} of buildx is not supported yet", source=source, fix=f"supported: {', '.join(SUPPORTED)}"
        )
    if name not in SUPPORTED:
        raise InputError(f"unknown option {name!r}", source=source, fix=suggest(name, SUPPORTED))
    raise InputError(f"option {name!r} has no value", source=source, fix=f"write {name}=…")


def _check_image(text: str, source: str) -> str:
    try:
        reference.parse(text)
    except ValueError as error:
        raise InputError(f"invalid image {text!r}: {error}", source=source) from error
    return text


def check_namespace(text: str, *, source: str) -> str:
    """A namespace's name is a DNS label (k8s.io/apimachinery v0.34.2 ``util/validation/validation.go``)."""
    if not _NAMESPACE.fullmatch(text):
        raise InputError(
            f"invalid namespace {text!r}", source=source, fix="1 to 63 of a-z, 0-9 and, inside, '-' are allowed"
        )
    return text


def _parse_replicas(text: str, source: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= _MOST_REPLICAS:
        raise InputError(f"replicas {text!r} is not a whole number of at least 1", source=source)
    return int(text)


def parse_selector(text: str, *, source: str) -> tuple[tuple[str, str], ...]:
    """Labels of nodes, ``key=value`` separated by commas, checked as Kubernetes checks labels."""
    labels = {}
    for item in text.strip('"').split(","):
        key, equals, value = item.strip().partition("=")
        if not equals:
            raise InputError(f"nodeselector: {item!r} is not key=value", source=source)
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and not _LABEL_PREFIX.fullmatch(prefix)):
            raise InputError(f"nodeselector: {key!r} is not the name of a label", source=source)
        if value and not _LABEL_NAME.fullmatch(value):
            raise InputError(f"nodeselector: {value!r} is not the value of a label", source=source)
        labels[key] = value
    return tuple(labels.items())


def _apply_resources(builder: BuilderSettings, options: dict[str, str], source: str) -> BuilderSettings:
    requests = tuple((name, options[f"requests.{name}"]) for name in RESOURCES if options.get(f"requests.{name}"))
    limits = tuple((name, options[f"limits.{name}"]) for name in RESOURCES if options.get(f"limits.{name}"))
    if not requests and not limits:
        return builder
    _check_resources(dict(requests), dict(limits), source)
    return replace(builder, requests=requests or builder.requests, limits=limits or builder.limits)


def _check_resources(requests: dict[str, str], limits: dict[str, str], source: str) -> None:
    """Each is a quantity, and no request is above its limit: the API server would refuse the pod."""
    from ci_buildx.settings.quantities import parse_quantity

    for name in RESOURCES:
        whole = name != "cpu"
        amounts = {
            kind: parse_quantity(texts[name], source=f"{source} {kind}.{name}", whole=whole)
            for kind, texts in (("requests", requests), ("limits", limits))
            if name in texts
        }
        if len(amounts) == 2 and amounts["requests"] > amounts["limits"]:
            raise InputError(
                f"requests.{name} {requests[name]!r} is more than limits.{name} {limits[name]!r}", source=source
            )
