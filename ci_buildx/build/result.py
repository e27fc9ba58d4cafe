"""The result of a build, and the files that it leaves for later steps."""

from __future__ import annotations

import base64
import errno
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import BuildkitError, KubeBuilderError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import UNENCODABLE
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field

if TYPE_CHECKING:
    from ci_buildx.model.status import CheckFinding


def write_file(path: Path, text: str, *, source: str, fix: str = "") -> None:
    """Replace a file atomically.

    A file that cannot be replaced (a device, a mounted file, a file in a read-only folder) is written in place. Raises
    KubeBuilderError that names ``source`` and ``fix``: something has been built by now.
    """
    try:
        if (path.exists() and not path.is_file()) or not _replace(path, text):
            path.write_text(text, encoding="utf-8", errors=UNENCODABLE)
    except OSError as error:
        raise KubeBuilderError(f"{source}: cannot write {path}: {error.strerror}", fix=fix) from error


def _replace(path: Path, text: str) -> bool:
    """Replace a file atomically and return whether that worked. OSError if there is no space for the text."""
    from ci_buildx.fsutil import scratch

    try:
        stream = scratch.open_partial(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        return False
    draft = Path(stream.name)
    try:
        with stream:
            stream.write(text.encode(errors=UNENCODABLE))
            stream.flush()
            with suppress(OSError):
                draft.replace(path)
                return True
        return False
    finally:
        draft.unlink(missing_ok=True)


DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
DESCRIPTOR = "containerimage.descriptor"
NAME = "image.name"
BUILD_REF = "buildx.build.ref"
"""Key of the build's place in the builder's history: builder, node and reference."""
_DIGEST = compile_lazily(r"[a-z0-9]+:[a-f0-9]+")
_WORD = compile_lazily(r"[\w.:/\[\]-]+", re.ASCII)
_ANSWER = "result.json"
"""Key of a call's answer, which is plain JSON, not base64 (buildx 0.38.2, ``decodeExporterResponse``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """Result of one finished build.

    ``digest`` is the image's or index's ("" if no image was exported), ``image_id`` the content of ``--iidfile``,
    ``references`` the pushed names, ``namespace`` the builder's (gone unless kept), ``phases`` seconds by phase name.
    ``findings`` are those of build checks in the Dockerfile. For a call, ``answer`` is for standard output and
    ``status`` is the exit code.
    """

    digest: str = ""
    image_id: str = ""
    references: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    namespace: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[CheckFinding, ...] = ()
    answer: str = ""
    status: int = 0

    def list_rows(self) -> list[tuple[str, str]]:
        """Return a summary: names, digest, platforms, and time of each phase; unknown values have no row."""
        rows = [("image", reference) for reference in self.references]
        rows += [
            ("digest", self.digest),
            ("platforms", ", ".join(str(platform) for platform in self.platforms)),
            ("time", ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in self.phases.items())),
        ]
        return [(name, value) for name, value in rows if value]

    def list_lines(self) -> list[str]:
        """Return the rows as text, or a call's answer."""
        return self.answer.splitlines() or [f"{name:<10}{value}" for name, value in self.list_rows()]


def read_digest(responses: Mapping[str, str], name: str) -> str:
    """Return a digest from buildkitd's response, "" if there is none.

    Later jobs get it as a variable, so its form is checked. Raises BuildkitError if it is invalid.
    """
    digest = responses.get(name, "")
    if digest and not _DIGEST.fullmatch(digest):
        raise BuildkitError(f"buildkitd returned an invalid digest as {name}: {digest[:80]!r}")
    return digest


def read_image_names(responses: Mapping[str, str]) -> tuple[str, ...]:
    """Return the image names from buildkitd's response. Raises BuildkitError for invalid names."""
    names = tuple(name for text in responses.get(NAME, "").split(",") if (name := text.strip()) and "@" not in name)
    for name in names:
        if not _WORD.fullmatch(name):
            raise BuildkitError(f"buildkitd returned an invalid image name as {NAME}: {name[:80]!r}")
    return names


def make_metadata(responses: Mapping[str, str]) -> dict[str, Any]:
    """Return the exporter's response as buildx 0.38.2 writes it to ``--metadata-file``.

    Values that are base64 of a JSON object, or of a list of objects, are decoded (``commands/build.go``,
    ``decodeExporterResponse``); keys are sorted.
    """
    return {key: _decode_value(value, plain=key == _ANSWER) for key, value in sorted(responses.items())}


def _decode_value(value: str, *, plain: bool) -> Any:
    try:
        decoded = parse_json(value if plain else base64.b64decode(value, validate=True))
    except ValueError:
        return value
    objects = decoded if isinstance(decoded, list) else [decoded]
    return decoded if decoded and all(isinstance(item, dict) for item in objects) else value


def write_result_files(result: BuildResult, *, metadata_file: Path | None, iidfile: Path | None) -> None:
    """Write ``--metadata-file`` and ``--iidfile``. Raises KubeBuilderError after both have been tried."""
    contents = (
        (metadata_file, json.dumps(result.metadata, indent=2) + "\n", "--metadata-file"),
        (iidfile, result.image_id, "--iidfile"),
    )
    errors = []
    for path, text, source in contents:
        if path is not None:
            try:
                write_file(
                    path, text, source=source, fix=f"{describe_success(result)}: free disk space or name another file"
                )
            except KubeBuilderError as error:
                errors.append(error)
    if errors:
        first, *others = errors
        for other in others:
            first.add_note(str(other))
        raise first


def describe_success(result: BuildResult) -> str:
    """Return a text that the build succeeded and what it made, for errors that occur afterwards."""
    name = result.references[0] if result.references else ""
    made = "@".join(part for part in (name, result.digest) if part)
    return f"the build succeeded ({made})" if made else "the build succeeded"
