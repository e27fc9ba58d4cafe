"""Build inputs from standard input or a URL, stored in files for one build; the list of a context's files.

Source: buildx 0.38.2, ``build/opt.go`` (``loadInputs``): standard input is the context if it begins like an archive,
else it is the Dockerfile of an empty context. This machine, not buildkitd, fetches a Dockerfile by URL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ci_buildx.errors import InputError, KubeBuilderError, RegistryError
from ci_buildx.fsutil import entry as fsutil_entry
from ci_buildx.fsutil import patterns as fsutil_patterns
from ci_buildx.fsutil.entry import PatternError, TreeEntry, format_path
from ci_buildx.fsutil.walk import walk_tree
from ci_buildx.model import debug
from ci_buildx.model.record import replace
from ci_buildx.settings.contexts import DOCKERFILE, STDIN
from ci_buildx.settings.values import BuildSettings, ImageLayout, NamedContext

_LOG = debug.get_log("build")
LARGEST_DOCKERFILE = 2 << 20
"""Maximum bytes of a Dockerfile by URL (buildx ``build/url.go``)."""
_FETCH_TIME = 30.0
_HEAD = 1024
_MAGIC = (b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
"""Magic bytes of bzip2, gzip, xz and zstd (BuildKit 0.34.2, ``util/archiveutil``)."""
_FILE = "--file"
_CONTEXTS = "--build-context"


@contextmanager
def open_input_files(build: BuildSettings, *, stdin: BinaryIO | None = None) -> Iterator[BuildSettings]:
    """Yield the build with all of its inputs in local files; their temporary folder is deleted at the end.

    ``stdin`` defaults to standard input. Raises InputError for inputs that cannot be read, and for standard input that
    holds a second Dockerfile.
    """
    if any(isinstance(one.location, ImageLayout) for one in build.contexts):
        build = replace(build, contexts=tuple(map(_add_digest, build.contexts)))
    if build.context != STDIN and not build.dockerfile_origin:
        yield build
        return
    from ci_buildx.fsutil import scratch

    with scratch.open_folder() as folder:
        if build.context == STDIN:
            build = _read_context(build, folder, stdin or sys.stdin.buffer)
        if build.dockerfile_origin and build.dockerfile is None:
            build = _add_dockerfile(build, folder, _read_dockerfile(build.dockerfile_origin, stdin))
        yield build


def _add_digest(context: NamedContext) -> NamedContext:
    """Add the digest of the context's image if it is in a local OCI layout."""
    from ci_buildx.session import oci_layout
    from ci_buildx.session.oci_layout import OciLayout

    place = context.location
    if not isinstance(place, ImageLayout):
        return context
    try:
        digest = place.digest or oci_layout.find_image_digest(place.folder, place.tag)
        known = oci_layout.list_tags(place.folder)
    except KubeBuilderError as error:
        raise InputError(f"context {context.name!r}: {error}", source=_CONTEXTS) from error
    if not digest:
        missing = f"context {context.name!r}: tag {place.tag!r} not found in {place.folder}"
        fix = f"it has {', '.join(known[:5])}" if known else "name a digest: oci-layout://FOLDER@DIGEST"
        raise InputError(missing, source=_CONTEXTS, fix=fix)
    if not OciLayout(place.folder).has(digest):
        raise InputError(f"context {context.name!r}: blob {digest} not found in {place.folder}", source=_CONTEXTS)
    return replace(context, location=replace(place, digest=digest))


def is_archive(head: bytes) -> bool:
    """Return whether data with this beginning is a tar file, possibly compressed."""
    if head.startswith(_MAGIC) or (len(head) >= 8 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"):
        return True
    from tarfile import BLOCKSIZE, HeaderError, TarInfo

    try:
        TarInfo.frombuf(head[:BLOCKSIZE], "utf-8", "surrogateescape")
    except HeaderError:
        return False
    return True


def _read_context(build: BuildSettings, folder: Path, stdin: BinaryIO) -> BuildSettings:
    head = stdin.read(_HEAD)
    if not head:
        raise InputError("standard input is empty", source="PATH|URL", fix="pipe an archive or a Dockerfile into it")
    if is_archive(head):
        from shutil import copyfileobj

        from ci_buildx.session.content import ADDRESS

        archive = folder / "context"
        with archive.open("wb") as stream:
            stream.write(head)
            copyfileobj(stdin, stream, 1 << 20)
        return replace(build, context=ADDRESS + os.urandom(12).hex(), archive=archive)
    if build.dockerfile_origin or build.dockerfile_name != DOCKERFILE:
        raise InputError(
            "standard input already contains the Dockerfile", source=_FILE, fix="omit it or pipe an archive"
        )
    empty = folder / "empty"
    empty.mkdir()
    build = replace(build, context=empty, dockerfile_origin=STDIN)
    return _add_dockerfile(build, folder, head + stdin.read())


def _add_dockerfile(build: BuildSettings, folder: Path, text: bytes) -> BuildSettings:
    path = folder / "dockerfile" / DOCKERFILE
    path.parent.mkdir()
    path.write_bytes(text)
    return replace(build, dockerfile=path, dockerfile_name=path.name)


def _read_dockerfile(origin: str, stdin: BinaryIO | None) -> bytes:
    if origin == STDIN:
        return (stdin or sys.stdin.buffer).read()
    return _fetch(origin)


def _fetch(url: str) -> bytes:
    """Return the body of an HTTP resource, fetched with the proxies and certificate authorities of this machine.

    Raises InputError if it cannot be fetched or is larger than :data:`LARGEST_DOCKERFILE`.
    """
    from ci_buildx.registry.connection import RegistryConnection, RegistryRequest, RequestPatience, TooLarge
    from ci_buildx.registry.pace import TransferPace
    from ci_buildx.registry.trust import RegistryTrust

    if _LOG.is_on:
        from ci_buildx.model.http_calls import show_url

        _LOG.debug("the Dockerfile is fetched from %s", show_url(url))
    patience = RequestPatience(
        attempts=3, connect=_FETCH_TIME, silence=_FETCH_TIME, pace=TransferPace(grace=_FETCH_TIME)
    )
    request = RegistryRequest(method="GET", url=url, limit=LARGEST_DOCKERFILE)
    with closing(RegistryConnection(RegistryTrust(), patience)) as connection:
        try:
            answer = connection.send(request)
        except TooLarge as error:
            large = f"the Dockerfile {url} is larger than {LARGEST_DOCKERFILE >> 20} MiB"
            raise InputError(large, source=_FILE) from error
        except RegistryError as error:
            raise InputError(f"cannot fetch the Dockerfile {url}: {error.message}", source=_FILE) from error
    if answer.status != 200:
        raise InputError(f"cannot fetch the Dockerfile {url}: HTTP status {answer.status}", source=_FILE)
    return answer.body


IGNORE_FILE = ".dockerignore"


def list_context_files(build: BuildSettings) -> Iterator[dict[str, Any]]:
    """Yield path, POSIX mode in octal, size and link target of each entry of the context.

    Bytes that are not UTF-8 become lone surrogates. Raises InputError for a context that is not on this machine and for
    malformed patterns, KubeBuilderError for unreadable files.
    """
    if isinstance(build.context, str):
        what = "an archive from standard input is sent unchanged" if build.archive else "BuildKit fetches it itself"
        raise InputError(f"the context is not a local folder: {what}", source="--print", fix="name a folder")
    ignore_file = find_ignore_file(build.context, build.dockerfile)
    try:
        patterns = fsutil_patterns.read_ignore_file(_read_text(ignore_file)) if ignore_file else []
        for entry in walk_tree(build.context, exclude=patterns):
            yield _format_entry(entry)
    except PatternError as error:
        raise InputError(str(error), source=str(ignore_file)) from error
    except OSError as error:
        name = format_path(os.fsencode(error.filename or "."))
        raise KubeBuilderError(f"cannot read {name}: {error.strerror}") from error


def find_ignore_file(context: Path, dockerfile: Path | None) -> Path | None:
    """Return the ignore file that applies, None if there is none; a link out of its folder leads BuildKit nowhere."""
    own = [dockerfile.with_name(dockerfile.name + IGNORE_FILE)] if dockerfile else []
    found = (path for path in (*own, context / IGNORE_FILE) if path.is_file())
    return next((path for path in found if path.resolve().is_relative_to(path.parent.resolve())), None)


def _read_text(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")


def _format_entry(entry: TreeEntry) -> dict[str, Any]:
    return {
        "path": os.fsdecode(entry.path),
        "mode": f"{fsutil_entry.convert_to_posix(entry.mode):06o}",
        "size": entry.size,
        "linkname": os.fsdecode(entry.linkname),
    }
