"""Files that a build leaves for later steps: whole, or as they were."""

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
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field

if TYPE_CHECKING:
    from ci_buildx.model.status import CheckFinding


def write_file(path: Path, text: str, *, source: str, fix: str = "") -> None:
    """Replace a file at once. Raises KubeBuilderError of ``source`` with ``fix``: by now something has been built.

    What cannot be replaced (a device, a mounted file, a file in a folder that is not writable) is written in place.
    """
    try:
        if (path.exists() and not path.is_file()) or not _replace(path, text):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KubeBuilderError(f"{source}: cannot write {path}: {error.strerror}", fix=fix) from error


def _replace(path: Path, text: str) -> bool:
    """Whether it could be replaced. OSError if there is no space for the text."""
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
            stream.write(text.encode())
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
_DIGEST = compile_lazily(r"[a-z0-9]+:[a-f0-9]+")
_WORD = compile_lazily(r"[\w.:/\[\]-]+", re.ASCII)
_ANSWER = "result.json"
"""The answer to a call, which is JSON as it is (buildx 0.38.2, ``decodeExporterResponse``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """One finished build.

    ``digest`` is the image's or index's ("" where no image was exported), ``image_id`` what ``--iidfile`` holds,
    ``references`` the names that were pushed, ``namespace`` the builder's (gone unless kept), ``phases`` seconds.
    ``findings`` are what build checks say of the Dockerfile. Of a call ``answer`` is for standard output, and
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
        """What a person wants to know: names, digest, platforms, time of each phase; what is not known has no row."""
        rows = [("image", reference) for reference in self.references]
        rows += [
            ("digest", self.digest),
            ("platforms", ", ".join(str(platform) for platform in self.platforms)),
            ("time", ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in self.phases.items())),
        ]
        return [(name, value) for name, value in rows if value]

    def list_lines(self) -> list[str]:
        """The rows as text; of a call its answer."""
        return self.answer.splitlines() or [f"{name:<10}{value}" for name, value in self.list_rows()]


def digest_in(responses: Mapping[str, str], name: str) -> str:
    """A digest that buildkitd answered, "" for none. Later jobs get it as a variable, so it must be nothing else.

    Raises BuildkitError.
    """
    digest = responses.get(name, "")
    if digest and not _DIGEST.fullmatch(digest):
        raise BuildkitError(f"buildkitd answers {name} with what is no digest: {digest[:80]!r}")
    return digest


def names_in(responses: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the image that buildkitd answered. Raises BuildkitError for what cannot be one."""
    names = tuple(name for text in responses.get(NAME, "").split(",") if (name := text.strip()) and "@" not in name)
    for name in names:
        if not _WORD.fullmatch(name):
            raise BuildkitError(f"buildkitd answers {NAME} with what is no name of an image: {name[:80]!r}")
    return names


def make_metadata(responses: Mapping[str, str]) -> dict[str, Any]:
    """The exporter's response as buildx 0.38.2 writes it to ``--metadata-file``.

    Values that are base64 of a JSON object, or of a list of objects, are shown as that (``commands/build.go``,
    ``decodeExporterResponse``); keys are sorted.
    """
    return {key: _decode_value(value, plain=key == _ANSWER) for key, value in sorted(responses.items())}


def _decode_value(value: str, *, plain: bool) -> Any:
    try:
        decoded = json.loads(value if plain else base64.b64decode(value, validate=True))
    except ValueError:
        return value
    objects = decoded if isinstance(decoded, list) else [decoded]
    return decoded if decoded and all(isinstance(item, dict) for item in objects) else value


def write_result_files(result: BuildResult, *, metadata_file: Path | None, iidfile: Path | None) -> None:
    """Write ``--metadata-file`` and ``--iidfile``. Raises KubeBuilderError, after both have been tried."""
    contents = (
        (metadata_file, json.dumps(result.metadata, indent=2) + "\n", "--metadata-file"),
        (iidfile, result.image_id, "--iidfile"),
    )
    errors = []
    for path, text, source in contents:
        if path is not None:
            try:
                write_file(
                    path, text, source=source, fix=f"{describe_success(result)}: free space there or name another file"
                )
            except KubeBuilderError as error:
                errors.append(error)
    if errors:
        first, *others = errors
        for other in others:
            first.add_note(str(other))
        raise first


def describe_success(result: BuildResult) -> str:
    """That the build itself succeeded, and what it made, for errors that come after it."""
    name = result.references[0] if result.references else ""
    made = "@".join(part for part in (name, result.digest) if part)
    return f"the build succeeded ({made})" if made else "the build succeeded"
