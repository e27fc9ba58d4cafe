"""The one table of what a build can be told, on whatever surface.

The command line's parser and help, the Action's inputs, the GitLab template's inputs and the variables
``KUBE_BUILDER_…`` are all made from it. Names, where buildx or docker/build-push-action has them, are theirs.
"""

from __future__ import annotations

from ci_buildx.settings.option import COMMAND_LINE, Group, Kind, Option, Surface
from ci_buildx.settings.values import BuilderSettings, Progress, TransportChoice

CONTEXT = Option(
    name="context",
    flags=(),
    metavar="PATH|URL",
    default=".",
    group=Group.IMAGE,
    help="folder of the build's files, or a URL that BuildKit fetches itself: a git repository "
    "(https://host/repo.git#ref:folder) or a tarball",
)

OPTIONS: tuple[Option, ...] = (
    CONTEXT,
    Option(
        name="file",
        flags=("-f", "--file"),
        metavar="FILE",
        group=Group.IMAGE,
        help="the Dockerfile, relative to the working directory",
        otherwise="Dockerfile in the context",
    ),
    Option(
        name="tags",
        flags=("-t", "--tag"),
        kind=Kind.WORDS,
        metavar="REF",
        group=Group.IMAGE,
        help="name of the image, registry/name:tag",
    ),
    Option(
        name="platforms",
        flags=("--platform",),
        kind=Kind.WORDS,
        metavar="OS/ARCH",
        group=Group.IMAGE,
        help="platforms to build for, such as linux/amd64,linux/arm64; several make one image index",
        otherwise="the node's own",
    ),
    Option(
        name="target",
        flags=("--target",),
        metavar="STAGE",
        group=Group.IMAGE,
        help="stage of the Dockerfile to build",
        otherwise="the last",
    ),
    Option(
        name="build-args",
        flags=("--build-arg",),
        kind=Kind.LINES,
        metavar="K[=V]",
        group=Group.IMAGE,
        help="value of an ARG; without =V that of the variable K",
    ),
    Option(
        name="labels",
        flags=("--label",),
        kind=Kind.LINES,
        metavar="K=V",
        group=Group.IMAGE,
        help="label of the image",
    ),
    Option(
        name="annotations",
        flags=("--annotation",),
        kind=Kind.LINES,
        metavar="[TARGET:]K=V",
        group=Group.IMAGE,
        help="OCI annotation; TARGET is index, manifest or manifest[linux/amd64]",
    ),
    Option(
        name="provenance",
        flags=("--provenance",),
        metavar="BOOL|K=V,…",
        default="mode=min,inline-only=true",
        group=Group.IMAGE,
        help="attest how the image was made: true, false or attributes such as mode=max",
    ),
    Option(
        name="sbom",
        flags=("--sbom",),
        metavar="BOOL|K=V,…",
        default="false",
        group=Group.IMAGE,
        help="attest what is in the image: true, false or generator=IMAGE",
    ),
    Option(
        name="push",
        flags=("--push",),
        kind=Kind.SWITCH,
        default="false",
        group=Group.RESULT,
        help="push the image to the registry of each tag",
    ),
    Option(
        name="outputs",
        flags=("-o", "--output"),
        kind=Kind.LINES,
        metavar="OUTPUT",
        group=Group.RESULT,
        help="where the result goes: a folder, - (tar to stdout), type=local|tar|oci|docker,dest=PATH or type=registry",
    ),
    Option(
        name="metadata-file",
        flags=("--metadata-file",),
        metavar="FILE",
        group=Group.RESULT,
        surfaces=COMMAND_LINE,
        help="write digests, names and provenance of the result as JSON",
    ),
    Option(
        name="iidfile",
        flags=("--iidfile",),
        metavar="FILE",
        group=Group.RESULT,
        surfaces=COMMAND_LINE,
        help="write the image ID",
    ),
    Option(
        name="no-cache",
        flags=("--no-cache",),
        kind=Kind.SWITCH,
        default="false",
        group=Group.CACHE,
        help="run every step, whatever the cache holds",
    ),
    Option(
        name="pull",
        flags=("--pull",),
        kind=Kind.SWITCH,
        default="false",
        group=Group.CACHE,
        help="ask the registry for newer base images",
    ),
    Option(
        name="cache-from",
        flags=("--cache-from",),
        kind=Kind.LINES,
        metavar="CACHE",
        group=Group.CACHE,
        help="import a cache: a reference, or type=registry|local|gha|s3|azblob,…",
    ),
    Option(
        name="cache-to",
        flags=("--cache-to",),
        kind=Kind.LINES,
        metavar="CACHE",
        group=Group.CACHE,
        help="export the cache: a reference, or type=registry|inline|local|gha|s3|azblob,…",
    ),
    Option(
        name="secrets",
        flags=("--secret",),
        kind=Kind.LINES,
        metavar="SECRET",
        group=Group.CACHE,
        help="secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE",
    ),
    Option(
        name="driver-opts",
        flags=("--driver-opt",),
        kind=Kind.LINES,
        metavar="K=V,…",
        group=Group.BUILDER,
        help="the builder's image, namespace, replicas, nodeselector, requests.* and limits.* "
        "(cpu, memory, ephemeral-storage), timeout; a value with commas is quoted whole: "
        """'"nodeselector=a=b,c=d"'""",
    ),
    Option(
        name="buildkitd-config",
        flags=("--buildkitd-config",),
        metavar="FILE",
        group=Group.BUILDER,
        help="buildkitd.toml for the builder",
    ),
    Option(
        name="buildkitd-flags",
        flags=("--buildkitd-flags",),
        metavar="FLAGS",
        group=Group.BUILDER,
        help="more flags for buildkitd, in one text",
    ),
    Option(
        name="builder",
        flags=("--builder",),
        metavar="NAME",
        group=Group.BUILDER,
        surfaces=COMMAND_LINE,
        help="use a builder that an earlier build kept, instead of making one",
    ),
    Option(
        name="keep",
        flags=("--keep",),
        kind=Kind.SWITCH,
        default="false",
        group=Group.BUILDER,
        surfaces=COMMAND_LINE,
        help="keep the builder after the build; kube-builder rm removes it, and its lifetime ends it",
    ),
    Option(
        name="lifetime",
        flags=("--lifetime",),
        metavar="DURATION",
        default=f"{BuilderSettings().lifetime}s",
        group=Group.BUILDER,
        help="the cluster itself ends the builder after this time",
    ),
    Option(
        name="transport",
        flags=("--transport",),
        kind=Kind.CHOICE,
        choices=tuple(TransportChoice),
        default=TransportChoice.AUTO,
        group=Group.BUILDER,
        help="how to reach the builder; auto races them",
    ),
    Option(
        name="namespace",
        flags=("--namespace",),
        metavar="NAME",
        group=Group.CLUSTER,
        help="existing namespace for the builder",
        otherwise="one of its own, made and removed",
    ),
    Option(
        name="kubeconfig",
        flags=("--kubeconfig",),
        metavar="FILE",
        group=Group.CLUSTER,
        help="credentials of the cluster",
        otherwise="KUBECONFIG, ~/.kube/config or the pod's own account",
    ),
    Option(
        name="kube-context",
        flags=("--kube-context",),
        metavar="NAME",
        group=Group.CLUSTER,
        help="context of the kubeconfig",
        otherwise="its current one",
    ),
    Option(
        name="progress",
        flags=("--progress",),
        kind=Kind.CHOICE,
        choices=tuple(Progress),
        default=Progress.AUTO,
        group=Group.DISPLAY,
        help="kind of progress on stderr; auto is tty on a terminal and plain in a log",
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}


def on_surface(surface: Surface) -> tuple[Option, ...]:
    """The options that a surface offers, in the table's order."""
    return tuple(option for option in OPTIONS if surface in option.surfaces)
