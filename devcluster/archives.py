"""Official release archives in place of compiled programs, each pinned by its digest.

`KUBE_BUILDER_ARCHIVES=official` takes those in `archives.toml`; a path names another list of the same format, for
example one with the URLs of a mirror. Programs without an archive are compiled.
"""

import hashlib
import http.client
import re
import shutil
import sys
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from devcluster.errors import DevclusterError

VARIABLE = "KUBE_BUILDER_ARCHIVES"
OFFICIAL = Path(__file__).with_name("archives.toml")
SCHEMES = ("https", "http", "file")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
FIELDS = frozenset({"recipe", "url", "digest", "programs"})
PATIENCE = 30.0
"""Seconds without any byte after which a server counts as unreachable."""


class Unreachable(DevclusterError):
    """The archive cannot be fetched from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseArchive:
    """An archive with programs of one recipe.

    `digest` is `sha256:…` or `sha512:…` of the file. `programs` maps a program's file name to its member in the
    archive; a file that is no archive is its only program, and the member is ".".
    """

    recipe: str
    url: str
    digest: str
    programs: Mapping[str, str]


def choose(env: Mapping[str, str]) -> dict[str, tuple[ReleaseArchive, ...]]:
    """Return the archives of each recipe that the environment asks for; none without KUBE_BUILDER_ARCHIVES.

    Raises DevclusterError if the list cannot be read.
    """
    wanted = env.get(VARIABLE, "")
    if not wanted:
        return {}
    found = read_list(OFFICIAL if wanted == "official" else Path(wanted))
    return {name: tuple(one for one in found if one.recipe == name) for name in {one.recipe for one in found}}


def read_list(path: Path) -> tuple[ReleaseArchive, ...]:
    """Return the archives in a list. Raises DevclusterError with the first mistake."""
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError) as reason:
        raise DevclusterError(f"{VARIABLE}: want 'official' or a readable list, not {path}: {reason}") from reason
    entries = content.get("archive", [])
    if set(content) - {"archive"} or not isinstance(entries, list) or not entries:
        raise DevclusterError(f"{path}: want tables [[archive]] and nothing else")
    return tuple(_parse_entry(entry, f"{path}: archive {number}") for number, entry in enumerate(entries, 1))


def _parse_entry(entry: Any, place: str) -> ReleaseArchive:
    if not isinstance(entry, dict) or set(entry) != FIELDS:
        raise DevclusterError(f"{place}: want exactly the fields {', '.join(sorted(FIELDS))}")
    programs = entry["programs"]
    if not isinstance(programs, dict) or not programs:
        raise DevclusterError(f"{place}: programs: want a table of file names and their members in the archive")
    for value in (entry["recipe"], entry["url"], entry["digest"], *programs.values()):
        if not isinstance(value, str) or not value:
            raise DevclusterError(f"{place}: want a text, not {value!r}")
    for name in programs:
        if "/" in name or name in (".", ".."):
            raise DevclusterError(f"{place}: programs: want a file name without a folder, not {name!r}")
    if not DIGEST.fullmatch(entry["digest"]):
        raise DevclusterError(f"{place}: digest: want sha256: or sha512: and all its hexadecimal digits")
    if urllib.parse.urlsplit(entry["url"]).scheme not in SCHEMES:
        raise DevclusterError(f"{place}: url: want one of {', '.join(SCHEMES)}, not {entry['url']}")
    return ReleaseArchive(recipe=entry["recipe"], url=entry["url"], digest=entry["digest"], programs=programs)


def fetch(archive: ReleaseArchive, folder: Path) -> None:
    """Fetch an archive, compare its digest, and unpack its programs into ``folder``.

    Raises Unreachable if it cannot be fetched, DevclusterError if it has another digest or lacks a program.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        found = _download(archive, file)
        if found != archive.digest:
            raise DevclusterError(f"{archive.url} has the digest {found}, not {archive.digest} as in the list: refused")
        file.seek(0)
        _unpack(archive, file, folder)
    names = ", ".join(sorted(archive.programs))
    print(f"took {names} from {archive.url}", file=sys.stderr, flush=True)


def _download(archive: ReleaseArchive, target: IO[bytes]) -> str:
    """Copy the archive's bytes and return their digest, of the kind that is pinned."""
    kind = archive.digest.partition(":")[0]
    digest = hashlib.new(kind)
    try:
        with urllib.request.urlopen(archive.url, timeout=PATIENCE) as response:
            while block := response.read(1 << 20):
                digest.update(block)
                target.write(block)
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise Unreachable(f"{archive.url} cannot be fetched: HTTP {refusal.code}") from refusal
    except (OSError, http.client.HTTPException) as reason:
        raise Unreachable(f"{archive.url} cannot be fetched: {getattr(reason, 'reason', reason)}") from reason
    return f"{kind}:{digest.hexdigest()}"


def _unpack(archive: ReleaseArchive, file: IO[bytes], folder: Path) -> None:
    if set(archive.programs.values()) == {"."}:
        _write_program(file, folder / next(iter(archive.programs)))
        return
    try:
        with tarfile.open(fileobj=file) as members:
            for name, member in archive.programs.items():
                content = members.extractfile(member)
                if content is None:
                    raise DevclusterError(f"{archive.url}: {member} is not a file")
                _write_program(content, folder / name)
    except (KeyError, tarfile.TarError) as reason:
        raise DevclusterError(f"{archive.url}: {reason}".replace('"', "")) from reason


def _write_program(content: IO[bytes], path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(content, target, 1 << 20)
    path.chmod(0o755)
