"""An OCI image layout on disk (OCI image specification 1.1, ``image-layout.md``): blobs under their digests.

A blob appears under its name only when it is whole and what its digest says; what is on the way is in ``ingest``,
where containerd has it too (containerd 2.4, ``plugins/content/local/store.go``).
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from ci_buildx.fsutil import scratch
from ci_buildx.session.status import Status

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_DEFAULT = "sha256"


class Refused(Exception):
    """A request that a layout cannot meet; ``status`` is what gRPC calls the reason."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Layout:
    """The layout in ``folder``; buildkitd may write into it where it is ``writable``."""

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder = folder
        self.writable = writable

    def has(self, digest: str) -> bool:
        """Whether a blob is there. Refused if the digest is none."""
        return self._path(digest).is_file()

    def open(self, digest: str) -> BinaryIO:
        """A blob to read. Refused if it is not there."""
        try:
            return self._path(digest).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(Status.NOT_FOUND, f"{digest} is not in {self.folder}") from None

    def ingest(self, expected: str) -> Ingest:
        """A blob to write; ``expected`` is its digest, "" while it is unknown. Refused if it may not be written."""
        if not self.writable:
            raise Refused(Status.INVALID_ARGUMENT, f"{self.folder} is there to be read only")
        algorithm = _split(expected)[0] if expected else _DEFAULT
        return Ingest(self, algorithm)

    def place(self, partial: Path, digest: str) -> None:
        """Give a whole blob its name."""
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(path)

    def _path(self, digest: str) -> Path:
        return self.folder.joinpath("blobs", *_split(digest))


class Ingest:
    """A blob on its way in: a context manager that leaves nothing behind of one that was not committed."""

    def __init__(self, layout: Layout, algorithm: str) -> None:
        self._layout = layout
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._place = layout.folder / "ingest" / "blob"
        self.offset = 0

    def __enter__(self) -> Self:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._stream = scratch.open_partial(self._place)
        self._partial = Path(self._stream.name)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the disk that is full is full still
            self._stream.close()
        self._partial.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Add to the end."""
        self._stream.write(data)
        self._hash.update(data)
        self.offset += len(data)

    def restart(self) -> None:
        """Begin again."""
        self._stream.seek(0)
        self._stream.truncate()
        self._hash = hashlib.new(self._algorithm)
        self.offset = 0

    def commit(self, *, total: int, expected: str) -> None:
        """Put the blob in its place. Refused if it is not what ``total`` (0: unknown) and ``expected`` say."""
        if total and total != self.offset:
            raise Refused(Status.FAILED_PRECONDITION, f"{self.offset} bytes were written of {total}")
        if expected and expected != self.digest:
            raise Refused(Status.FAILED_PRECONDITION, f"what was written is {self.digest}, not {expected}")
        self._stream.close()
        self._layout.place(self._partial, self.digest)


def _split(digest: str) -> tuple[str, str]:
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise Refused(Status.INVALID_ARGUMENT, f"{digest[:100]!r} is no digest")
    algorithm, _, encoded = digest.partition(":")
    return algorithm, encoded
