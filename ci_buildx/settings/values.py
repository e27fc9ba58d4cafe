"""The frozen settings of a build and its builder, which all later stages read."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.names import StickyKey
from ci_buildx.settings.option import OptionSurface


class ProgressMode(StrEnum):
    """Progress display; ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere.

    ``github`` and ``gitlab`` are ``plain`` with sections that these systems fold: each step, each phase. ``quiet`` and
    ``none`` show no progress; ``quiet`` prints the image ID.
    """

    AUTO = "auto"
    PLAIN = "plain"
    TTY = "tty"
    GITHUB = "github"
    GITLAB = "gitlab"
    RAWJSON = "rawjson"
    QUIET = "quiet"
    NONE = "none"


class MetadataProvenance(StrEnum):
    """Extent of the provenance in the metadata: without the build's steps and times, or with them."""

    MIN = "min"
    MAX = "max"


class TransportChoice(StrEnum):
    """Transport to buildkitd in a pod; ``auto`` races all of them."""

    AUTO = "auto"
    DIRECT = "direct"
    PORT_FORWARD = "port-forward"
    EXEC = "exec"


class ContextMtime(StrEnum):
    """Source of the modification times that the context's files are sent with."""

    KEEP = "keep"
    GIT = "git"
    EPOCH = "epoch"


class PreviewKind(StrEnum):
    """Subject that ``--print`` shows instead of building."""

    PLAN = "plan"
    MANIFESTS = "manifests"
    CONTEXT = "context"
    SOLVE = "solve"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedAttributes:
    """A typed CSV value such as ``type=registry,ref=host/name``: an output, a cache import or export."""

    type: str
    attrs: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of an attribute."""
        return dict(self.attrs).get(name, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """A build secret with its value: ``id`` is the name in ``RUN --mount=type=secret,id=…``."""

    id: str
    value: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSource:
    """SSH access for ``RUN --mount=type=ssh,id=…``: the agent at ``socket``, or ``keys`` (content of their files)."""

    id: str
    socket: Path | None = None
    keys: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """An image in a folder with an OCI image layout; ``digest`` is "" until it is read from the index by ``tag``."""

    folder: Path
    tag: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """Meaning of ``FROM name`` and ``COPY --from=name``: a folder, a local image, or a URL that BuildKit fetches."""

    name: str
    location: Path | ImageLayout | str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendCall:
    """A request to the frontend instead of a build: ``lint``, ``outline``, ``targets``…

    The answer is shown as ``json`` or as text. With ``ignore_status``, findings of ``lint`` do not fail the job.
    """

    method: str
    json: bool = False
    ignore_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerDaemon:
    """Address of a docker daemon: a ``socket``, or ``host`` and ``port``."""

    socket: Path | None = None
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConstraint:
    """Required value of an attribute of a source; ``condition`` is its number in BuildKit's message."""

    key: str
    value: str
    condition: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSelector:
    """The sources that a rule applies to; ``match_type`` is its number in BuildKit's message."""

    identifier: str = ""
    match_type: int = 0
    constraints: tuple[SourceConstraint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUpdate:
    """Replacement of a source."""

    identifier: str = ""
    attrs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """One rule: allow (0), deny (1) or convert (2)."""

    action: int = 0
    selector: SourceSelector | None = None
    updates: SourceUpdate | None = None


SOURCE_POLICY = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
"""Variable that names the file of the source policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePolicy:
    """Rules for the sources of a build, enforced by BuildKit."""

    version: int = 0
    rules: tuple[SourceRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Settings of all RUN steps.

    ``network`` is ``host``, ``none`` or "" for the default. ``hosts`` are entries ``name=address``, ``ulimits``
    ``name=soft:hard``, ``shm_size`` bytes (0: the default). ``resources`` holds limits by BuildKit's names.
    """

    network: str = ""
    hosts: tuple[str, ...] = ()
    shm_size: int = 0
    ulimits: tuple[str, ...] = ()
    cgroup_parent: str = ""
    resources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Settings of one build.

    ``context`` is an existing folder, a URL that BuildKit fetches itself (``https://….git#ref``, a tarball), or ``-``
    for standard input; ``archive`` is then the file that holds the input after it was read.

    ``dockerfile`` is an existing file. It is None with a remote context (BuildKit looks up ``dockerfile_name`` there),
    and until it has been read from ``dockerfile_origin``: ``-`` for standard input, or a URL.

    ``tags`` are references as typed, already checked. ``outputs`` holds ``--output`` entries; ``push`` adds an image
    exporter that pushes. Keys of ``annotations`` include their target: ``index:key`` or ``manifest[linux/amd64]:key``.
    ``provenance`` and ``sbom`` are attributes as buildx sends them (``type=sbom,generator=…``), "" if disabled;
    ``attestations`` holds all others by type.

    ``entitlements`` are extra privileges that steps may request (``network.host``). With a ``call`` nothing is built.
    ``daemon`` receives outputs of type docker without ``dest``. Without ``oci_artifact``, attestations are plain image
    manifests unless an output overrides that. ``policy_disabled`` ignores a policy in Rego in a remote context.
    ``metadata_provenance`` is the provenance that the metadata contains. ``syntax`` is a frontend's image with
    arguments, which replaces that of ``BUILDKIT_SYNTAX``.
    """

    context: Path | str
    dockerfile: Path | None
    dockerfile_name: str = "Dockerfile"
    dockerfile_origin: str = ""
    archive: Path | None = None
    contexts: tuple[NamedContext, ...] = ()
    context_mtime: ContextMtime = ContextMtime.KEEP
    tags: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    push: bool = False
    build_args: tuple[tuple[str, str], ...] = ()
    target: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    secrets: tuple[SecretSource, ...] = ()
    empty_secrets: tuple[str, ...] = ()
    withheld_tokens: tuple[str, ...] = ()
    ssh: tuple[SshSource, ...] = ()
    cache_from: tuple[TypedAttributes, ...] = ()
    cache_to: tuple[TypedAttributes, ...] = ()
    outputs: tuple[TypedAttributes, ...] = ()
    oci_artifact: bool = True
    provenance: str = "mode=min,inline-only=true"
    sbom: str = ""
    attestations: tuple[tuple[str, str], ...] = ()
    entitlements: tuple[str, ...] = ()
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    call: FrontendCall | None = None
    source_policy: SourcePolicy | None = None
    policy_disabled: bool = False
    syntax: str = ""
    daemon: DockerDaemon | None = None
    metadata_file: Path | None = None
    metadata_provenance: MetadataProvenance | None = None
    iidfile: Path | None = None
    timeline: Path | None = None
    progress: ProgressMode = ProgressMode.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Access to the cluster: ``kubeconfig`` lists the files of KUBECONFIG; empty means the default or in-cluster.

    ``content`` is the text of a kubeconfig; then ``kubeconfig`` is empty. ``oidc`` is the source of the job's own
    token: an audience, or ``env:NAME``; "" means the kubeconfig's user. ``empty_input`` names the CI system's input
    that would hold a kubeconfig but is empty, ``empty_fix`` is the advice for that.
    """

    kubeconfig: tuple[Path, ...] = ()
    content: Secret | None = None
    context: str = ""
    oidc: str = ""
    empty_input: str = ""
    empty_fix: str = ""


QUEUE_TIMEOUT = 1800.0
"""Seconds that a build waits for a slot in a builder's pods, by default."""
RETRIES = 1
"""Lost pods after which a build goes on, by default."""
MOST_RETRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one ``build`` command.

    ``builder_name`` selects an existing builder instead of a new one; ``sticky_key`` decides which builds share one of
    its replicas. ``queue_timeout`` (s) bounds the wait for a slot in its pods. ``retries`` is how often a node's build
    goes on in another pod after its pod was lost, and how often a failed push is repeated. With ``preview`` nothing is
    done, only shown. Errors and warnings name options as ``surface`` does.
    """

    build: BuildSettings
    builder: BuilderSettings = field(default_factory=BuilderSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    builder_name: str = ""
    keep: bool = False
    sticky_key: StickyKey = field(default_factory=StickyKey)
    queue_timeout: float = QUEUE_TIMEOUT
    retries: int = RETRIES
    transport: TransportChoice = TransportChoice.AUTO
    preview: PreviewKind | None = None
    surface: OptionSurface = OptionSurface.CLI
