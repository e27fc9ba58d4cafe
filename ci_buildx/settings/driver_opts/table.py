"""The table of driver options: the only place that lists them.

Readers of the command line and of YAML, the JSON schema and ``docs/reference/driver-opts.md`` follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from typing import Any

from ci_buildx.model.record import dataclass
from ci_buildx.settings.builder import LoadBalance, Reclaim, UserNamespaces
from ci_buildx.settings.driver_opts import checks
from ci_buildx.settings.driver_opts.outside import ExternalInputs
from ci_buildx.settings.names import check_namespace
from ci_buildx.settings.syntax import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionValue:
    """A parsed value; ``source`` begins errors about it: the place where it was set, and its name."""

    value: Any
    source: str


Entries = Mapping[str, OptionValue]
"""Values by the options' names; later ones have replaced earlier ones."""


class OptionShape(Enum):
    """Syntax of an option's text; YAML uses the corresponding type."""

    TEXT = "text"
    QUANTITY = "a Kubernetes quantity"
    DURATION = "a duration"
    NUMBER = "a whole number"
    REPLICAS = "a whole number of at least 1, or MIN..MAX"
    SWITCH = "true or false"
    LIST = "A,B"
    PAIRS = "K=V,…"
    TOLERATIONS = "key=K,value=V,operator=OP,effect=E;…"
    MIRRORS = "HOST=MIRROR;MIRROR,…"
    TEMPLATE = "a file or YAML"

    @property
    def is_text(self) -> bool:
        """Whether the value is a text that the option's check parses."""
        return self in (OptionShape.TEXT, OptionShape.QUANTITY, OptionShape.DURATION)

    @property
    def holds_commas(self) -> bool:
        """Whether the text may hold commas, so that the whole option must be quoted."""
        plain = (OptionShape.NUMBER, OptionShape.REPLICAS, OptionShape.SWITCH)
        return not self.is_text and self not in plain


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOption:
    """One option. ``help`` is its description in the schema and the page; the default comes from BuilderSettings.

    ``field`` is the field of BuilderSettings that the option sets, ``storage.claimed`` a field of one; "" if
    :mod:`~ci_buildx.settings.driver_opts.apply` combines the option with others. ``pod_field`` takes its place for an
    option that only sets a field of the pods' spec: the field's name in Kubernetes. ``choices`` is the closed set of
    values. ``check`` returns the field's value, by default the choice or the value as it is. ``outside`` is a check
    that needs files or variables. Both raise InputError.
    """

    name: str
    help: str
    shape: OptionShape = OptionShape.TEXT
    field: str = ""
    pod_field: str = ""
    choices: type[StrEnum] | tuple[str, ...] = ()
    check: Callable[..., Any] | None = None
    outside: Callable[..., Any] | None = None

    def check_value(self, value: Any, inputs: ExternalInputs, *, source: str) -> Any:
        """Return the value of the field. Raises InputError."""
        if self.outside is not None:
            return self.outside(inputs, value, source=source)
        if self.check is not None:
            return self.check(value, source=source)
        return checks.check_choice(value, self.choices, source=source) if self.choices else value


ENV = "env."
"""Prefix of options that set an environment variable of buildkitd."""

OF_BUILDX = (
    DriverOption(
        name="image",
        field="image",
        check=checks.check_image,
        help="BuildKit image of the pods; with `rootless`, `moby/buildkit:buildx-stable-1-rootless`",
    ),
    DriverOption(
        name="namespace",
        field="namespace",
        check=check_namespace,
        help="existing namespace to create in; by default a new one for a job's builder, and the context's for a "
        "lasting one",
    ),
    DriverOption(
        name="replicas",
        shape=OptionShape.REPLICAS,
        field="replicas",
        check=checks.check_replicas,
        help="pods per node of the builder; `2..20` for a lasting builder that adds pods while builds wait and "
        "removes idle ones",
    ),
    DriverOption(
        name="loadbalance",
        field="loadbalance",
        choices=LoadBalance,
        help="choice of the replica: `sticky` the one that has the repository's cache, unless it is busy, with "
        "at least two builds and 1.25 times the mean; `least` the one with the fewest; `random` any",
    ),
    DriverOption(
        name="default-load",
        shape=OptionShape.SWITCH,
        field="default_load",
        help="load results of one platform into the local image store if no other output is requested",
    ),
    DriverOption(
        name="timeout",
        shape=OptionShape.DURATION,
        field="timeout",
        check=parse_duration,
        help="time limit for the builder's start",
    ),
    *(
        DriverOption(name=f"{kind}.{resource}", shape=OptionShape.QUANTITY, help=meaning)
        for kind in ("requests", "limits")
        for resource, meaning in checks.RESOURCES.items()
    ),
    DriverOption(
        name="nodeselector",
        shape=OptionShape.PAIRS,
        field="nodeselector",
        check=checks.check_selector,
        help="labels of the cluster nodes that pods may run on",
    ),
    DriverOption(
        name="tolerations",
        shape=OptionShape.TOLERATIONS,
        field="tolerations",
        check=checks.check_tolerations,
        help="taints that the pods tolerate",
    ),
    DriverOption(
        name="annotations",
        shape=OptionShape.PAIRS,
        field="annotations",
        check=checks.check_annotations,
        help="annotations of the workload and its pods",
    ),
    DriverOption(
        name="labels",
        shape=OptionShape.PAIRS,
        field="labels",
        check=checks.check_labels,
        help="labels of the workload and its pods",
    ),
    DriverOption(
        name="serviceaccount",
        pod_field="serviceAccountName",
        check=checks.check_object_name,
        help="service account of the pods; its token is not mounted",
    ),
    DriverOption(
        name="schedulername",
        pod_field="schedulerName",
        check=checks.check_object_name,
        help="scheduler of the pods",
    ),
    DriverOption(
        name=ENV,
        help="variables of buildkitd (not of the steps); visible to everyone with read access to the pods",
    ),
    DriverOption(
        name="rootless",
        shape=OptionShape.SWITCH,
        field="rootless",
        help="run BuildKit as a separate user instead of privileged",
    ),
    DriverOption(
        name="qemu.install",
        shape=OptionShape.SWITCH,
        field="qemu.install",
        help="register QEMU in the cluster node's kernel, with a privileged init container",
    ),
    DriverOption(name="qemu.image", field="qemu.image", check=checks.check_image, help="image of that init container"),
    DriverOption(
        name="persistent-volume-claim.requests.storage",
        shape=OptionShape.QUANTITY,
        field="storage.claimed",
        check=checks.check_storage,
        help="bytes: `50Gi`; a job's volume is deleted with its pod",
    ),
    DriverOption(
        name="buildkit-root-volume-memory",
        shape=OptionShape.QUANTITY,
        field="storage.memory",
        check=checks.check_storage,
        help="keep buildkitd's state in memory, up to this many bytes",
    ),
)
OF_OURS = (
    DriverOption(
        name="max-builds",
        shape=OptionShape.NUMBER,
        field="max_builds",
        check=checks.check_most_builds,
        help="maximum number of concurrent builds in a pod, `0` for any number; other builds wait in a queue; by "
        "default, with several replicas, one for each whole CPU and GiB of memory that a pod requests, otherwise `0`",
    ),
    DriverOption(
        name="idle-timeout",
        shape=OptionShape.DURATION,
        check=parse_duration,
        help="with `replicas=MIN..MAX`: time without a build after which a pod is removed; by default `10m`",
    ),
    DriverOption(
        name="metrics-port",
        shape=OptionShape.NUMBER,
        field="metrics_port",
        check=checks.check_metrics_port,
        help="port of buildkitd's Prometheus metrics (`/metrics`), usually `6060`, with annotations `prometheus.io/…`; "
        "the port also has buildkitd's debug pages, without a login; by default none",
    ),
    DriverOption(
        name="priority-class",
        pod_field="priorityClassName",
        check=checks.check_object_name,
        help="priority class of the pods",
    ),
    DriverOption(
        name="dns-policy",
        pod_field="dnsPolicy",
        choices=checks.DNS_POLICIES,
        check=checks.check_dns_policy,
        help="DNS policy of the pods: `ClusterFirst`, `ClusterFirstWithHostNet` or `Default` (the cluster node's "
        "DNS); by default it is not set, and Kubernetes uses `ClusterFirst`",
    ),
    DriverOption(
        name="user-namespaces",
        field="user_namespaces",
        choices=UserNamespaces,
        help="map root in the pod to an unprivileged user of its cluster node: if all suitable cluster nodes support "
        "it (`auto`), only on those that do (`true`), or never (`false`)",
    ),
    DriverOption(
        name="seccomp-profile",
        field="confinement.seccomp",
        check=checks.check_profile,
        help="with `rootless`: `unconfined`, `runtime/default`, `localhost/FILE`, or `default` for the cluster's "
        "default",
    ),
    DriverOption(
        name="apparmor-profile",
        field="confinement.apparmor",
        check=checks.check_profile,
        help="with `rootless`: the same values, for AppArmor",
    ),
    DriverOption(
        name="storage-class",
        field="storage.storage_class",
        check=checks.check_object_name,
        help="storage class of that volume; by default the cluster's default",
    ),
    DriverOption(
        name="reclaim",
        field="storage.reclaim",
        choices=Reclaim,
        help="`delete` or `retain` a lasting builder's volumes when it or their node is removed; retained ones are "
        "listed",
    ),
    DriverOption(
        name="image-pull-secrets",
        shape=OptionShape.LIST,
        help="Secrets in the namespace for pulling the images; `auto` makes one from the job's own login",
    ),
    DriverOption(
        name="registry-mirrors",
        shape=OptionShape.MIRRORS,
        field="registries.mirrors",
        check=checks.check_mirrors,
        help="mirrors by the registry's host, in the order to try",
    ),
    DriverOption(
        name="insecure-registries",
        shape=OptionShape.LIST,
        field="registries.insecure",
        check=checks.check_hosts,
        help="registries that may use plain HTTP or an unverified certificate",
    ),
    DriverOption(
        name="ca-certificates",
        shape=OptionShape.LIST,
        field="registries.certificates",
        outside=ExternalInputs.read_certificates,
        help="PEM files (or their content) of additional certificate authorities that buildkitd trusts",
    ),
    DriverOption(
        name="proxy",
        shape=OptionShape.SWITCH,
        field="proxy",
        outside=ExternalInputs.read_proxy,
        help="set the proxies of this environment in buildkitd; the cluster's own addresses bypass them",
    ),
    DriverOption(
        name="network-policy",
        shape=OptionShape.SWITCH,
        help="create a NetworkPolicy that admits only mTLS to the pods",
    ),
    DriverOption(
        name="runner-selector",
        shape=OptionShape.PAIRS,
        help="labels of the pods that the NetworkPolicy admits; by default it admits mTLS from anywhere",
    ),
    DriverOption(
        name="grace-period",
        shape=OptionShape.DURATION,
        field="grace_period",
        check=checks.check_seconds,
        help="time limit for buildkitd's end, during which a lasting builder finishes running builds; by default 5s "
        "for a job's builder, 5m for a lasting one",
    ),
    DriverOption(
        name="pod-template",
        shape=OptionShape.TEMPLATE,
        field="pod_template",
        outside=ExternalInputs.read_template,
        help="a PodTemplateSpec, or a file with one, that is merged into the pods last, like `kubectl patch` "
        "(strategic merge)",
    ),
)
OPTIONS = {option.name: option for option in (*OF_BUILDX, *OF_OURS)}
"""All options by name; that of :data:`ENV` is for all variables."""

SPELLINGS = {
    # buildx's documentation has the singular in its table and the plural in its text; buildx accepts the plural.
    "annotation": "annotations",
    "label": "labels",
    "toleration": "tolerations",
}
"""Alternative names, by the option that they mean."""


def find_option(name: str) -> DriverOption | None:
    """Return an option, or None if the name is unknown."""
    if name.startswith(ENV):
        return OPTIONS[ENV] if name != ENV else None
    return OPTIONS.get(name)
