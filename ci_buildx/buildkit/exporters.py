"""What becomes of the build's result: exporters for buildkitd, and destinations here.

Source: buildx 0.38.2, ``util/buildflags/export.go``, ``build/opt.go`` (``CreateExports``, ``toSolveOpt``),
``commands/build.go`` (``--push``, annotations), ``build/build.go`` (``prepareMultiDriverExports``).
"""

from __future__ import annotations

from pathlib import Path

from ci_buildx.buildkit.messages import Entry
from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.record import dataclass
from ci_buildx.session.places import FileTarget, FolderTarget, StreamTarget, Target
from ci_buildx.settings.values import Attributes, BuildSettings, Daemon

_STDOUT = "-"
_NAMED = ("image", "oci", "docker")
_TRUE = ("1", "t", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """``exporters`` for the request; ``targets`` for :class:`ci_buildx.session.filesend.FileSend`, by their index.

    ``layout`` is the folder of the one that writes an OCI layout (``tar=false``).
    """

    exporters: tuple[Entry, ...]
    targets: dict[int, Target]
    layout: Path | None = None


def make(build: BuildSettings, *, by_digest: bool = False) -> Exports:
    """All outputs of a build.

    ``by_digest`` is for one of several nodes: its image is pushed without tags, to be joined into one index.
    Raises InputError for outputs that do not fit together.
    """
    outputs = [_typed(output) for output in build.outputs if output.type != "cacheonly"]
    if build.push:
        outputs = _pushed(outputs)
    targets: dict[int, Target] = {}
    exporters = []
    layouts = [Path(output.attrs["dest"]) for output in outputs if _is_layout(output)]
    if len(layouts) > 1:
        raise InputError("only one output can have tar=false", source="--output", fix="write the others as tar files")
    for index, output in enumerate(outputs):
        _check(output, build, by_digest=by_digest)
        attrs = {name: value for name, value in output.attrs.items() if name != "dest"}
        if "dest" in output.attrs and not _is_layout(output):
            targets[index] = _target(output)
        elif output.type == "docker" and build.daemon and not _is_layout(output):
            targets[index] = _loaded(build.daemon)
        attrs |= {_annotation(name): value for name, value in build.annotations}
        if output.type in _NAMED and build.tags:
            attrs["name"] = ",".join(build.tags)
        exporters.append(Entry(output.type, attrs))
    if by_digest:
        _drop_tags(exporters)
    return Exports(exporters=tuple(exporters), targets=targets, layout=layouts[0] if layouts else None)


def is_true(text: str) -> bool:
    """Whether Go's ``strconv.ParseBool`` reads true."""
    return text in _TRUE or text in ("T", "TRUE", "True")


def _typed(output: Attributes) -> Entry:
    attrs = dict(output.attrs)
    if output.type != "registry":
        return Entry(output.type, attrs)
    return Entry("image", {"unpack": "false"} | attrs | {"push": "true"})


def _pushed(outputs: list[Entry]) -> list[Entry]:
    """With ``--push`` images are pushed; if there is none among the outputs, one is added."""
    if not any(output.type == "image" for output in outputs):
        return [*outputs, Entry("image", {"push": "true", "unpack": "false"})]
    return [
        Entry(output.type, output.attrs | {"push": "true"}) if output.type == "image" else output for output in outputs
    ]


def _check(output: Entry, build: BuildSettings, *, by_digest: bool) -> None:
    if output.type == "image" and is_true(output.attrs.get("push", "")):
        if not build.tags and not output.attrs.get("name"):
            raise InputError("a tag is needed to push", source="--push", fix="add --tag registry/name:tag")
    elif output.type == "docker" and len(build.platforms) > 1:
        raise InputError("type=docker holds one platform", source="--output", fix="use type=oci for several")
    elif output.type in ("oci", "tar", "docker") and by_digest:
        raise InputError(
            f"type={output.type} cannot be put together from several nodes",
            source="--output",
            fix="push an image, or build one platform at a time",
        )


def _is_layout(output: Entry) -> bool:
    """Whether blobs are written one by one, through the session's content store."""
    return output.type in ("oci", "docker") and output.attrs.get("tar", "true").lower() in ("0", "f", "false")


def _target(output: Entry) -> Target:
    destination = output.attrs["dest"]
    if output.type == "local":
        return FolderTarget(path=Path(destination))
    return FileTarget(path=None if destination == _STDOUT else Path(destination))


def _loaded(daemon: Daemon) -> StreamTarget:
    from ci_buildx.session.load import loading

    return StreamTarget(name="to the docker daemon", opened=lambda: loading(daemon))


def _annotation(name: str) -> str:
    """``index:key`` is ``annotation-index.key`` on the wire (BuildKit 0.34.2, ``exptypes/annotations.go``)."""
    target, colon, key = name.partition(":")
    return f"annotation-{target}.{key}" if colon else f"annotation.{name}"


def _drop_tags(exporters: list[Entry]) -> None:
    """The first image that is pushed goes to its repositories by digest."""
    for exporter in exporters:
        if exporter.type == "image" and is_true(exporter.attrs.get("push", "")):
            names = (reference.parse(tag).name for tag in exporter.attrs["name"].split(","))
            exporter.attrs.update({"name": ",".join(dict.fromkeys(names)), "push-by-digest": "true"})
            return
