"""Translates a build's outputs to exporters for buildkitd and local destinations.

Source: buildx 0.38.2, ``util/buildflags/export.go``, ``build/opt.go`` (``CreateExports``, ``toSolveOpt``),
``commands/build.go`` (``--push``, annotations), ``build/build.go`` (``prepareMultiDriverExports``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.buildkit.messages import ExporterEntry
from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import ImageReference
from ci_buildx.session.file_targets import FileTarget, FolderTarget, StreamTarget, Target
from ci_buildx.settings.syntax import GO_FALSE, GO_TRUE
from ci_buildx.settings.values import BuildSettings, DockerDaemon, TypedAttributes

DELETE = "delete"
"""The mode of a local export that deletes all other files in its folder."""
_STDOUT = "-"
_ATTESTED = ("image", "oci")
_NAMED = ("image", "oci", "docker")
_INDEX = "annotation-index."
_DANGLING = "dangling-name-prefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """``exporters`` for the request, and the local ``targets`` by exporter index.

    The targets are for :class:`ci_buildx.session.filesend.FileSendService`. ``layout`` is the folder of the export that
    writes an OCI layout (``tar=false``).
    """

    exporters: tuple[ExporterEntry, ...]
    targets: dict[int, Target]
    layout: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """The destination of the first image that is pushed.

    ``names`` are those passed to BuildKit; ``by_digest`` pushes to their repositories without tags. ``dangling`` is a
    repository that also gets the image by digest, "" for none. ``insecure`` is ``registry.insecure``, ``annotations``
    are those of an index.
    """

    names: tuple[str, ...]
    by_digest: bool = False
    dangling: str = ""
    insecure: bool = False
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def references(self) -> tuple[ImageReference, ...]:
        """The names, normalised; without tags if pushed by digest."""
        parsed = tuple(reference.parse_reference(name) for name in self.names)
        return parsed if self.by_digest else tuple(one.add_default_tag() for one in parsed)


def find_push(build: BuildSettings) -> Push | None:
    """Return the first image that a build pushes, None if it pushes none."""
    for output in _list_outputs(build):
        if _is_pushed(output):
            dangling = output.attrs.get(_DANGLING, "")
            return Push(
                names=tuple(output.attrs["name"].split(",")),
                by_digest=is_set(output.attrs, "push-by-digest"),
                dangling="" if is_set(output.attrs, "danging-name-empty-only") else dangling,
                insecure=is_set(output.attrs, "registry.insecure"),
                annotations=_list_index_annotations(output, build),
            )
    return None


def _list_index_annotations(output: ExporterEntry, build: BuildSettings) -> tuple[tuple[str, str], ...]:
    """Return an index's annotations: those of the output, overridden by those of the build."""
    attrs = output.attrs | {_make_annotation(name): value for name, value in build.annotations}
    found = ((name.removeprefix(_INDEX), value) for name, value in attrs.items() if name.startswith(_INDEX))
    return tuple(sorted(found))


def make_exports(build: BuildSettings, *, by_digest: bool = False) -> Exports:
    """Translate all outputs of a build.

    ``by_digest`` is for one of several nodes: its image is pushed without tags, to be merged into an index later.
    Raises InputError if the outputs cannot be combined.
    """
    outputs = _list_outputs(build)
    targets: dict[int, Target] = {}
    exporters = []
    layouts = [Path(output.attrs["dest"]) for output in outputs if _is_layout(output)]
    if len(layouts) > 1:
        raise InputError(
            "only one output can have tar=false", source="--output", fix="write the other outputs as tar files"
        )
    for index, output in enumerate(outputs):
        _check_output(output, build, by_digest=by_digest)
        attrs = {name: value for name, value in output.attrs.items() if name != "dest"}
        if "dest" in output.attrs and not _is_layout(output):
            targets[index] = _make_target(output)
        elif output.type == "docker" and build.daemon and not _is_layout(output):
            targets[index] = _make_load_target(build.daemon)
        attrs |= {_make_annotation(name): value for name, value in build.annotations}
        exporters.append(ExporterEntry(output.type, attrs))
    if by_digest:
        _drop_tags(exporters)
    return Exports(exporters=tuple(exporters), targets=targets, layout=layouts[0] if layouts else None)


def is_true(text: str) -> bool:
    """Return whether Go's ``strconv.ParseBool`` parses ``text`` as true."""
    return text in GO_TRUE


def is_set(attrs: Mapping[str, str], name: str) -> bool:
    """Return whether an attribute is true; an empty value counts as true, as in BuildKit 0.34.2's exporters."""
    return name in attrs and (not attrs[name] or is_true(attrs[name]))


def _list_outputs(build: BuildSettings) -> list[ExporterEntry]:
    """Return all outputs, with the build's tags as their names."""
    outputs = [_add_type(output) for output in build.outputs if output.type != "cacheonly"]
    if build.push:
        outputs = _add_push(outputs)
    names = {"name": ",".join(build.tags)} if build.tags else {}
    outputs = [ExporterEntry(one.type, one.attrs | names) if one.type in _NAMED else one for one in outputs]
    if build.oci_artifact:
        return outputs
    plain = {"oci-artifact": "false"}
    return [ExporterEntry(one.type, plain | one.attrs) if one.type in _ATTESTED else one for one in outputs]


def _is_pushed(output: ExporterEntry) -> bool:
    return output.type == "image" and is_set(output.attrs, "push")


def _add_type(output: TypedAttributes) -> ExporterEntry:
    attrs = dict(output.attrs)
    if output.type != "registry":
        return ExporterEntry(output.type, attrs)
    return ExporterEntry("image", {"unpack": "false"} | attrs | {"push": "true"})


def _add_push(outputs: list[ExporterEntry]) -> list[ExporterEntry]:
    """Apply ``--push``: push all images; add an image output if there is none."""
    if not any(output.type == "image" for output in outputs):
        return [*outputs, ExporterEntry("image", {"push": "true", "unpack": "false"})]
    return [
        ExporterEntry(output.type, output.attrs | {"push": "true"}) if output.type == "image" else output
        for output in outputs
    ]


def _check_output(output: ExporterEntry, build: BuildSettings, *, by_digest: bool) -> None:
    if _is_pushed(output):
        _check_names(output)
    elif output.type == "docker" and len(build.platforms) > 1:
        raise InputError("type=docker supports only one platform", source="--output", fix="use type=oci for several")
    elif output.type in ("oci", "tar", "docker") and by_digest:
        raise InputError(
            f"type={output.type} cannot be merged from several nodes",
            source="--output",
            fix="push an image, or build one platform at a time",
        )


def _check_names(output: ExporterEntry) -> None:
    """Raise InputError if a pushed image has no name or, pushed by digest, a tag.

    Source: BuildKit 0.34.2, ``util/push/push.go``.
    """
    names = output.attrs.get("name", "")
    if not names:
        raise InputError("pushing requires a tag", source="--push", fix="add a tag: registry/name:tag")
    if is_set(output.attrs, "push-by-digest"):
        for name in names.split(","):
            if reference.parse_reference(name).tag:
                fix = "omit the tag or push-by-digest"
                raise InputError(f"push-by-digest=true conflicts with the tag of {name}", source="--output", fix=fix)


def _is_layout(output: ExporterEntry) -> bool:
    """Return whether blobs are written individually, through the session's content store."""
    return output.type in ("oci", "docker") and output.attrs.get("tar", "true") in GO_FALSE


def _make_target(output: ExporterEntry) -> Target:
    destination = output.attrs["dest"]
    if output.type == "local":
        return FolderTarget(path=Path(destination), built=set() if output.attrs.get("mode") == DELETE else None)
    return FileTarget(path=None if destination == _STDOUT else Path(destination))


def _make_load_target(daemon: DockerDaemon) -> StreamTarget:
    from ci_buildx.session.filesend import open_image_load

    return StreamTarget(name="to the docker daemon", opened=lambda: open_image_load(daemon))


def _make_annotation(name: str) -> str:
    """Return an annotation's attribute: ``index:key`` becomes ``annotation-index.key``.

    Source: BuildKit 0.34.2, ``exptypes/annotations.go``.
    """
    target, colon, key = name.partition(":")
    return f"annotation-{target}.{key}" if colon else f"annotation.{name}"


def _drop_tags(exporters: list[ExporterEntry]) -> None:
    """Make the pushed image go to its repositories by digest.

    Raises InputError for more than one: of several exporters buildkitd returns the last one's digest only (0.34.2,
    ``llbsolver/export.go``).
    """
    pushed = [exporter for exporter in exporters if _is_pushed(exporter)]
    if len(pushed) > 1:
        message = "only one output can push an image from several nodes"
        raise InputError(message, source="--output", fix="keep one output, or build one platform at a time")
    for exporter in pushed:
        names = (reference.parse_reference(name).name for name in exporter.attrs["name"].split(","))
        exporter.attrs.pop(_DANGLING, None)
        exporter.attrs.update({"name": ",".join(dict.fromkeys(names)), "push-by-digest": "true"})
