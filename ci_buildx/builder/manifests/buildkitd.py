"""Configuration of buildkitd's container: confinement, flags and their defaults, files and variables.

buildkitd is either privileged, or has its own user and is confined by AppArmor and seccomp. How a profile is named
depends on the API server: by a field from Kubernetes 1.30 (AppArmor) and 1.19 (seccomp) on, by an annotation before.
BuildKit 0.34.2 requires Unconfined (``docs/rootless.md``), because runc mounts and unshares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ci_buildx.builder.builder import ADDRESS_LABEL, CA_FILE, CONFIG_FILE, PORT, Manifest
from ci_buildx.builder.manifests import registries
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.pods import CONTAINER
from ci_buildx.model.documents import parse_toml
from ci_buildx.model.record import replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderProxy, BuilderSettings, Registries, RegistryFiles
from ci_buildx.settings.syntax import parse_quantity

if TYPE_CHECKING:
    from ci_buildx.registry.trust import RegistryTrust

USER = 1000
"""User and group ID of rootless images."""

_APPARMOR_FIELD = (1, 30)
_SECCOMP_FIELD = (1, 19)
_TYPES = {"unconfined": "Unconfined", "runtime/default": "RuntimeDefault"}


def make_security_context(settings: BuilderSettings, server: tuple[int, int]) -> Manifest:
    """Return the securityContext of buildkitd's container; ``server`` is the API server's (major, minor)."""
    if not settings.rootless:
        return {"privileged": True}
    context: Manifest = {"runAsUser": USER, "runAsGroup": USER}
    wanted = settings.confinement
    if wanted.seccomp and server >= _SECCOMP_FIELD:
        context["seccompProfile"] = _make_profile(wanted.seccomp)
    if wanted.apparmor and server >= _APPARMOR_FIELD:
        context["appArmorProfile"] = _make_profile(wanted.apparmor)
    return context


def make_profile_annotations(settings: BuilderSettings, server: tuple[int, int]) -> dict[str, str]:
    """Return the pod's profile annotations, for API servers without the fields."""
    notes = {}
    if settings.rootless:
        wanted = settings.confinement
        if wanted.seccomp and server < _SECCOMP_FIELD:
            notes[f"container.seccomp.security.alpha.kubernetes.io/{CONTAINER}"] = wanted.seccomp
        if wanted.apparmor and server < _APPARMOR_FIELD:
            notes[f"container.apparmor.security.beta.kubernetes.io/{CONTAINER}"] = wanted.apparmor
    return notes


def make_metrics_annotations(settings: BuilderSettings) -> dict[str, str]:
    """Return the annotations by which Prometheus' usual configuration of Kubernetes finds a pod, {} without metrics."""
    if not settings.metrics_port:
        return {}
    found = {"scrape": "true", "port": str(settings.metrics_port), "path": "/metrics"}
    return {f"prometheus.io/{name}": value for name, value in found.items()}


def choose_pod_security(settings: BuilderSettings) -> str:
    """Return the PodSecurity level that the pods need.

    ``baseline`` refuses privileged and unconfined containers (k8s.io/pod-security-admission v0.34.2, ``policy``); the
    needs of the user's own template are not known here.
    """
    wanted = settings.confinement
    confined = settings.rootless and "unconfined" not in (wanted.seccomp, wanted.apparmor)
    return "baseline" if confined and not settings.qemu.install and not settings.pod_template else "privileged"


def _make_profile(text: str) -> Manifest:
    kind, _, name = text.partition("/")
    return {"type": "Localhost", "localhostProfile": name} if kind == "localhost" else {"type": _TYPES[text]}


CERTIFICATE_FILE = "server.pem"
KEY_FILE = "server-key.pem"
SERVER_FILES = (CA_FILE, CERTIFICATE_FILE, KEY_FILE)
AUTHORITIES_FILE = "authorities.pem"

_ADDRESS_VARIABLE = "KUBE_BUILDER_POD_IP"
"""Variable with the pod's address; Kubernetes expands a container's variables in its arguments (``$(NAME)``)."""

CERTIFICATE_FOLDER = "/etc/buildkit/tls"
CONFIG_FOLDER = "/etc/buildkit/config"

_SOCKET = "unix:///run/buildkit/buildkitd.sock"
_ROOTLESS_SOCKET = "unix:///run/user/1000/buildkit/buildkitd.sock"
# Go (crypto/x509/root_unix.go) reads the files of all of these folders, plus one of the system's bundles.
_TRUSTED_FOLDERS = f"/etc/ssl/certs:{CONFIG_FOLDER}"


def make_arguments(settings: BuilderSettings) -> list[str]:
    """Return flags of buildkitd 0.34.2 (``cmd/buildkitd/main.go``); the user's come last, so that they win.

    The UNIX socket, which exec reaches, needs no mTLS.
    """
    socket = _ROOTLESS_SOCKET if settings.rootless else _SOCKET
    flags = ["--addr", socket, "--addr", f"tcp://:{PORT}"]
    for flag, file in (("tlscacert", CA_FILE), ("tlscert", CERTIFICATE_FILE), ("tlskey", KEY_FILE)):
        flags += [f"--{flag}", f"{CERTIFICATE_FOLDER}/{file}"]
    if CONFIG_FILE in make_files(settings):
        flags += ["--config", f"{CONFIG_FOLDER}/{CONFIG_FILE}"]
    if settings.rootless:
        # A pod has no right to a separate /proc for each step (BuildKit docs/rootless.md).
        flags.append("--oci-worker-no-process-sandbox")
    if settings.metrics_port:
        flags += ["--debugaddr", f":{settings.metrics_port}"]
    # A pod's address appears in its status up to a second after buildkitd has answered through a tunnel.
    flags += ["--oci-worker-labels", f"{ADDRESS_LABEL}=$({_ADDRESS_VARIABLE})"]
    return [*flags, *settings.buildkitd_flags]


def make_files(settings: BuilderSettings) -> dict[str, str]:
    """Return the files of the ConfigMap by name, {} if nothing is configured."""
    wanted = settings.registries
    found = {}
    if config := _make_config(settings):
        found[CONFIG_FILE] = config
    if wanted.certificates:
        found[AUTHORITIES_FILE] = wanted.certificates
    return found | registries.list_authorities(settings)


def make_variables(draft: BuilderSpec) -> list[Manifest]:
    """Return buildkitd's variables: its address, proxies, certificate folders, and the user's, which win."""
    settings = draft.settings
    made: dict[str, Manifest] = {_ADDRESS_VARIABLE: {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}}
    if settings.registries.certificates:
        made["SSL_CERT_DIR"] = {"value": _TRUSTED_FOLDERS}
    for name in make_proxy_files(draft):
        # From the Secret: a proxy's URL may contain a password.
        made[name] = {"valueFrom": {"secretKeyRef": {"name": draft.location.make_object_name("keys"), "key": name}}}
    made |= {name: {"value": value} for name, value in settings.env}
    return [{"name": name, **source} for name, source in made.items()]


def make_proxy_files(draft: BuilderSpec) -> dict[str, bytes]:
    """Return the proxy variables, for the builder's Secret."""
    proxy = draft.settings.proxy
    if proxy is None:
        return {}
    urls = {"HTTP_PROXY": proxy.http, "HTTPS_PROXY": proxy.https}
    found = {name: url.reveal() for name, url in urls.items() if url is not None}
    return {**found, "NO_PROXY": _list_proxy_exceptions(proxy, draft.cluster_ranges).encode()}


def _list_proxy_exceptions(proxy: BuilderProxy, ranges: tuple[str, ...]) -> str:
    """Return the hosts that bypass the proxy: the user's exceptions, this pod, and the cluster."""
    inside = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")
    return ",".join(dict.fromkeys((*proxy.no_proxy, *inside, *ranges)))


def _make_config(settings: BuilderSettings) -> str:
    """Return the user's buildkitd.toml with what the driver options add to it.

    It is rewritten only if they add something, which loses comments and layout.
    """
    wanted = settings.registries
    if not (wanted.mirrors or wanted.insecure or settings.registry_files):
        return settings.buildkitd_config
    import tomli_w

    config = parse_toml(settings.buildkitd_config)
    return tomli_w.dumps(_add_registries(config, wanted, settings.registry_files))


def _add_registries(config: dict[str, object], wanted: Registries, files: Iterable[RegistryFiles]) -> dict[str, object]:
    """Return the configuration with mirrors, insecure hosts and files (BuildKit 0.34.2, ``util/resolver/config``)."""
    found = config.get("registry")
    known: dict[str, object] = dict(found) if isinstance(found, dict) else {}

    def extend(host: str, added: dict[str, object]) -> None:
        before = known.get(host)
        known[host] = {**(before if isinstance(before, dict) else {}), **added}

    for host, mirrors in wanted.mirrors:
        extend(host, {"mirrors": list(mirrors)})
    for host in wanted.insecure:
        # Both: certificates are not verified, and plain HTTP is used if the host has no TLS
        # (util/resolver/resolver.go).
        extend(host, {"http": True, "insecure": True})
    for one in files:
        extend(one.host, registries.make_options(one))
    return {**config, "registry": known}


_SHARE = Decimal("0.8")
"""Share of the state's space that the cache may use; steps need some, too."""
_ENTITLEMENTS = ("--allow-insecure-entitlement", "insecure-entitlements")
_GC = ("--oci-worker-gc", "gc", "gckeepstorage", "gcpolicy", "reservedspace", "maxusedspace", "minfreespace")
"""Flag and worker keys of the GC (BuildKit 0.34.2, ``cmd/buildkitd/config/config.go``, keys are case-insensitive)."""


def add_defaults(settings: BuilderSettings) -> BuilderSettings:
    """Return a lasting node's settings with default flags of buildkitd, before the user's own.

    As in buildx 0.38.2 (``builder/builder.go``, ``parseBuildkitdFlags``), steps may request the pod's network unless
    entitlements are configured. If the state has a size limit, buildkitd prunes its cache before reaching it; otherwise
    its own rules keep it below its share of the cluster node's disk.
    """
    made = []
    said = set(_list_user_settings(settings))
    if said.isdisjoint(_ENTITLEMENTS):
        made.append("--allow-insecure-entitlement=network.host")
    # State on a volume or in memory uses none of the cluster node's disk.
    room = settings.storage.claimed or settings.storage.memory or dict(settings.limits).get("ephemeral-storage")
    if room and said.isdisjoint(_GC):
        most = max(1, int(parse_quantity(room, source="the state's limit") * _SHARE / 10**6))
        made.append(f"--oci-worker-gc-keepstorage={max(1, most // 8)},0,{most}")
    return replace(settings, buildkitd_flags=(*made, *settings.buildkitd_flags))


_NO_HISTORY = """
[history]
  maxEntries = 0
"""


def add_job_defaults(settings: BuilderSettings) -> BuilderSettings:
    """Return the settings of a job's builder: with metrics, its builds are counted, but no history is written.

    Builds with neither are ``internal``, and buildkitd does not count those (BuildKit 0.34.2, ``solver/llbsolver``).
    """
    if not settings.metrics_port or "history" in _list_keys(parse_toml(settings.buildkitd_config)):
        return settings
    return replace(settings, buildkitd_config=settings.buildkitd_config + _NO_HISTORY)


def _list_user_settings(settings: BuilderSettings) -> Iterator[str]:
    """Yield what the user has configured: names of flags, and lower-case keys of buildkitd.toml and its workers."""
    for flag in settings.buildkitd_flags:
        name = flag.partition("=")[0]
        yield "--oci-worker-gc" if name == "--oci-worker-gc-keepstorage" else name
    config = parse_toml(settings.buildkitd_config)
    yield from _list_keys(config)
    workers = config.get("worker")
    for worker in workers.values() if isinstance(workers, dict) else ():
        yield from _list_keys(worker)


def _list_keys(table: Mapping[str, Any] | Any) -> Iterator[str]:
    return (key.lower() for key in table) if isinstance(table, Mapping) else iter(())


def read_registry_trust(files: Mapping[str, str], secrets: Mapping[str, Secret]) -> RegistryTrust:
    """Return what kube-builder's own client trusts: the same files of ConfigMap and Secret as buildkitd."""
    from ci_buildx.registry.trust import read_trust

    return read_trust(
        files.get(CONFIG_FILE, ""), files=files, secrets=secrets, everywhere=files.get(AUTHORITIES_FILE, "")
    )


def make_registry_trust(settings: BuilderSettings) -> RegistryTrust:
    """Return what kube-builder's own client trusts for a builder with these settings."""
    return read_registry_trust(make_files(settings), registries.list_keys(settings))
