"""What a build and its builder are asked to be: the frozen values that everything downstream reads."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.sticky_key import StickyKey


class ProgressMode(StrEnum):
    """How progress is displayed; ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere.

    ``github`` and ``gitlab`` are ``plain`` with what these systems fold: each step, each phase.
    """

    AUTO = "auto"
    PLAIN = "plain"
    TTY = "tty"
    GITHUB = "github"
    GITLAB = "gitlab"
    RAWJSON = "rawjson"
    QUIET = "quiet"


class TransportChoice(StrEnum):
    """How to reach buildkitd in a pod; ``auto`` races them."""

    AUTO = "auto"
    DIRECT = "direct"
    PORT_FORWARD = "port-forward"
    EXEC = "exec"


class ContextMtime(StrEnum):
    """Which modification times the files of the context are sent with."""

    KEEP = "keep"
    GIT = "git"
    EPOCH = "epoch"


class PreviewKind(StrEnum):
    """What ``--print`` shows instead of doing it."""

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
        """The last value of an attribute."""
        return dict(self.attrs).get(name, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """A build secret, read already: ``id`` is what ``RUN --mount=type=secret,id=…`` names."""

    id: str
    value: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSource:
    """What ``RUN --mount=type=ssh,id=…`` may use: the agent at ``socket``, or one of ``keys`` (as in their files)."""

    id: str
    socket: Path | None = None
    keys: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """An image in a folder that is an OCI image layout; ``digest`` is "" until the index there was read for ``tag``."""

    folder: Path
    tag: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """What ``FROM name`` and ``COPY --from=name`` mean: an existing folder, an image here, or what BuildKit fetches."""

    name: str
    location: Path | ImageLayout | str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendCall:
    """What the frontend is asked instead of being told to build: ``lint``, ``outline``, ``targets``…

    The answer is shown as ``json`` or as text; ``ignore_status`` lets findings of ``lint`` be no failure.
    """

    method: str
    json: bool = False
    ignore_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerDaemon:
    """Where a docker daemon listens: at a ``socket``, or at ``host`` and ``port``."""

    socket: Path | None = None
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConstraint:
    """What an attribute of a source has to be; ``condition`` by its number in BuildKit's message."""

    key: str
    value: str
    condition: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSelector:
    """The sources that a rule is about; ``match_type`` by its number."""

    identifier: str = ""
    match_type: int = 0
    constraints: tuple[SourceConstraint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUpdate:
    """What is taken instead."""

    identifier: str = ""
    attrs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """One rule: allowed (0), denied (1) or replaced (2)."""

    action: int = 0
    selector: SourceSelector | None = None
    updates: SourceUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePolicy:
    """Which sources a build may use, as BuildKit enforces it."""

    version: int = 0
    rules: tuple[SourceRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """What each RUN step is given.

    ``network`` is ``host``, ``none`` or "" for the usual one. ``hosts`` are entries ``name=address``, ``ulimits``
    ``name=soft:hard``, ``shm_size`` bytes (0: the usual). ``resources`` holds limits by BuildKit's names for them.
    """

    network: str = ""
    hosts: tuple[str, ...] = ()
    shm_size: int = 0
    ulimits: tuple[str, ...] = ()
    cgroup_parent: str = ""
    resources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """One build.

    ``context`` is an existing folder, a URL that BuildKit fetches itself (``https://….git#ref``, a tarball), or
    ``-`` for standard input; then ``archive`` is where that was put, once it was read.
    ``dockerfile`` is an existing file; None with a remote context (then ``dockerfile_name`` is looked up there), and
    as long as it still has to be read from ``dockerfile_origin``: ``-`` for standard input, or a URL.
    ``tags`` are references as typed, already checked. ``outputs`` holds ``--output`` entries; ``push`` adds an
    image exporter that pushes. Keys of ``annotations`` carry their target: ``index:key`` or
    ``manifest[linux/amd64]:key``. ``provenance`` and ``sbom`` are attributes as buildx sends them
    (``type=sbom,generator=…``), "" where none is wanted; ``attestations`` holds any others by their type.
    ``entitlements`` are what steps may ask for beyond the usual (``network.host``). With a ``call`` nothing is built.
    ``daemon`` takes outputs of type docker that have no ``dest``. Without ``oci_artifact`` attestations are plain image
    manifests unless an output says otherwise. ``policy_disabled`` lets a policy in Rego in a remote context be.
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
    daemon: DockerDaemon | None = None
    metadata_file: Path | None = None
    iidfile: Path | None = None
    timeline: Path | None = None
    progress: ProgressMode = ProgressMode.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Which cluster: ``kubeconfig`` holds the files of KUBECONFIG in order, empty for the default or in-cluster.

    ``content`` is a kubeconfig given as text; then there are no files.
    ``oidc`` says where the job's own token comes from: an audience, or ``env:NAME``; "" to be the kubeconfig's user.
    """

    kubeconfig: tuple[Path, ...] = ()
    content: Secret | None = None
    context: str = ""
    oidc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that one ``build`` was asked for.

    ``builder_name`` reuses a kept builder instead of making one; ``sticky_key`` says which builds share one of its
    replicas. With ``preview`` nothing is done, only shown.
    """

    build: BuildSettings
    builder: BuilderSettings = field(default_factory=BuilderSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    builder_name: str = ""
    keep: bool = False
    sticky_key: StickyKey = field(default_factory=StickyKey)
    transport: TransportChoice = TransportChoice.AUTO
    preview: PreviewKind | None = None
