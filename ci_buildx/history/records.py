"""Records of builds on the pods of a builder, and their order, names and states.

Source: buildx 0.38.2, ``commands/history/utils.go`` and ``ls.go`` (order, states), ``util/history`` (names).
"""

from __future__ import annotations

import json
import posixpath
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

from ci_buildx.buildkit.history import BuildRecord, HistoryListing, Moment, RecordState
from ci_buildx.errors import InputError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass
from ci_buildx.model.timestamps import parse_timestamp

CACHE_IMPORTS = "cache-imports"
"""The attribute with the caches that a build reads, as JSON."""
MOST_RECORDS = 50
"""Maximum number of records of each pod that are shown, as in buildx."""
_SECOND = 1_000_000_000
_CANCELED = 1
"""The number of gRPC's status for a build that was canceled."""
_DEFAULT = "/Dockerfile"
_STDIN = "-"
_TIME = compile_lazily(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSource:
    """The folder and the Dockerfile of a build that ran on this machine; "" if unknown, "-" for standard input."""

    folder: str = ""
    dockerfile: str = ""

    def show_folder(self, cwd: str) -> str:
        """Return the folder as a user in the folder ``cwd`` would write it: relative if it is the same or below."""
        return _shorten_path(self.folder, cwd)

    def show_dockerfile(self) -> str:
        """Return the Dockerfile's path in the folder; if it is elsewhere, its whole path."""
        return _shorten_path(self.dockerfile, self.folder)


NO_SOURCE = LocalSource()


def _shorten_path(path: str, folder: str) -> str:
    if not (path.startswith("/") and folder.startswith("/")):
        return path
    relative = posixpath.relpath(path, folder)
    return path if relative.startswith("../") or relative == ".." else relative


def read_local_source(state: Mapping[str, str]) -> LocalSource:
    """Return the paths in a build's local record (buildx 0.38.2, ``localstate/localstate.go``, ``State``).

    A context that BuildKit fetches has none.
    """
    folder = state.get("LocalPath", "")
    if "://" in folder or folder.startswith(("git@", "github.com/")):
        return NO_SOURCE
    return LocalSource(folder=folder, dockerfile=state.get("DockerfilePath", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRecord:
    """A record and where it is: on ``pod`` of the ``node`` of a ``builder``.

    ``now`` is buildkitd's clock in nanoseconds since the epoch, None if it did not tell. Durations are in nanoseconds.
    ``local`` is known if the build ran on this machine and left a record there.
    """

    record: BuildRecord
    builder: str
    node: str
    pod: str
    now: int | None = None
    local: LocalSource = NO_SOURCE

    @property
    def ref(self) -> str:
        """The build's reference, which is unique on its builder."""
        return self.record.ref

    @property
    def full_ref(self) -> str:
        """Builder, node and reference, as in the metadata file."""
        return f"{self.builder}/{self.node}/{self.ref}"

    @property
    def created(self) -> int:
        """The time of its begin."""
        return (self.record.created_at or Moment()).nanoseconds

    @property
    def completed(self) -> int | None:
        """The time of its end, None if it is running."""
        moment = self.record.completed_at
        return None if moment is None else moment.nanoseconds

    @property
    def duration(self) -> int | None:
        """The time from begin to end, or until now; None if it is unknown."""
        end = self.now if self.completed is None else self.completed
        return None if end is None else end - self.created

    @property
    def is_canceled(self) -> bool:
        """Whether the build was canceled."""
        return self.record.error is not None and self.record.error.code == _CANCELED

    @property
    def name(self) -> str:
        """What was built."""
        return make_build_name(self.record.frontend_attrs, self.local)

    @property
    def status(self) -> str:
        """The state as a table shows it."""
        if self.completed is None:
            return "Running"
        return "Completed" if self.record.error is None else "Error"


def read_listing(listing: HistoryListing, *, builder: str, node: str, pod: str) -> list[PlacedRecord]:
    """Return the running and the finished builds of a pod."""
    now = _read_clock(listing.clock)
    return [
        PlacedRecord(record=event.record, builder=builder, node=node, pod=pod, now=now)
        for event in listing.events
        if event.record is not None and event.type != RecordState.DELETED
    ]


def parse_time(text: str) -> int:
    """Parse RFC 3339 with any offset and return nanoseconds since the epoch. Raises ValueError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"not a time: {text!r}")
    clock, fraction, sign, hours, minutes = found.groups()
    shift = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1) if sign else 0
    return (parse_timestamp(f"{clock}Z") - shift) * _SECOND + int((fraction or "")[:9].ljust(9, "0"))


def _read_clock(text: str) -> int | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def sort_records(found: Iterable[PlacedRecord]) -> list[PlacedRecord]:
    """Sort records, the newest first."""
    return sorted(found, key=lambda one: -one.created)


def sort_for_table(found: Iterable[PlacedRecord]) -> list[PlacedRecord]:
    """Sort records for the table: running builds first, then the newest."""
    return sorted(found, key=lambda one: (one.completed is not None, -one.created))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChoice:
    """Which record a command applies to: that of ``ref``, or the one ``offset`` places before the newest."""

    ref: str = ""
    offset: int | None = None

    @property
    def source(self) -> str:
        """The words of errors."""
        return f"ref {self.ref!r}" if self.ref else "the newest build"


def read_choice(text: str) -> RecordChoice:
    """Parse REF: a reference, ``builder/node/ref``, ``^N`` for the N-th before the newest, or "" for the newest.

    Raises InputError.
    """
    if text.startswith("^"):
        if not (text[1:].isascii() and text[1:].isdecimal() and len(text) < 10):
            raise InputError(f"{text!r} is not an offset", source="REF", fix="write ^1 for the build before the newest")
        return RecordChoice(offset=int(text[1:]))
    return RecordChoice(ref=text.rpartition("/")[2])


def choose_record(found: Sequence[PlacedRecord], choice: RecordChoice) -> PlacedRecord:
    """Return the chosen one of all records, the newest first. Raises InputError if there is none."""
    if choice.offset is not None and choice.offset >= len(found):
        raise InputError(
            f"there are only {len(found)} builds", source=f"REF ^{choice.offset}", fix="use a smaller offset"
        )
    if not found:
        raise make_missing_error(choice)
    return found[choice.offset or 0]


def make_missing_error(choice: RecordChoice) -> InputError:
    """Return the error for a record that does not exist."""
    fix = "kube-builder history ls lists them"
    if not choice.ref:
        return InputError("no records found", fix="build on this builder first; records end with its pods' state")
    return InputError(f"no record found for ref {choice.ref!r}", source="REF", fix=fix)


def make_build_name(attrs: Mapping[str, str], local: LocalSource = NO_SOURCE) -> str:
    """Return the name of a build: that of its build argument, else its context, Dockerfile and target, else its source.

    Only the machine that built a local folder knows its path, and only if the build was recorded there. On others, the
    name follows from the request alone. A git context has its reference as fragment, however it was asked for.
    """
    if name := attrs.get("build-arg:BUILDKIT_BUILD_NAME", ""):
        return name
    context = attrs.get("context") or _read_folder(attrs, "vcs:localdir:context")
    if "?" in context:
        context = simplify_git_url(context)
    dockerfile = "" if attrs.get("filename", "") == "Dockerfile" else attrs.get("filename", "")
    if folder := _read_folder(attrs, "vcs:localdir:dockerfile"):
        dockerfile = posixpath.normpath(posixpath.join(folder, dockerfile))
    if local.dockerfile not in ("", _STDIN, "Dockerfile"):
        dockerfile = local.dockerfile
    shown = context or _name_paths("" if local.folder == _STDIN else local.folder, dockerfile)
    if target := attrs.get("target", ""):
        shown = f"{shown} ({target})" if shown else target
    return shown or simplify_git_url(attrs.get("vcs:source") or _find_git_input(attrs))


def _read_folder(attrs: Mapping[str, str], name: str) -> str:
    folder = attrs.get(name, "")
    return "" if folder == "." else folder


def _name_paths(folder: str, dockerfile: str) -> str:
    """Return the last part of a build's folder, and the Dockerfile's path in it without a usual file name.

    A Dockerfile elsewhere is named alone, by its last part, or its last two if its file name is not the usual one.
    """
    path = dockerfile.removesuffix(_DEFAULT)
    if path.startswith(folder) and len(path) > len(folder):
        return path[folder.rfind("/") + 1 :]
    before, _, last = (path or folder).rpartition("/")
    return last if not path or path != dockerfile else posixpath.join(posixpath.basename(before), last)


def _find_git_input(attrs: Mapping[str, str]) -> str:
    source = attrs.get("input:context", "")
    return source if is_git_url(source) else ""


def is_git_url(text: str) -> bool:
    """Return whether BuildKit clones the URL: it is one of git or ssh, or its path ends in ``.git``."""
    if text.startswith(("git://", "ssh://", "git@")):
        return True
    path = text.partition("#")[0].partition("?")[0]
    return text.startswith(("http://", "https://")) and path.endswith(".git")


def simplify_git_url(url: str) -> str:
    """Return a git URL with its reference as fragment (BuildKit 0.34.2, ``dfgitutil.FragmentFormat``)."""
    if not is_git_url(url) and not url.startswith("github.com/"):
        return url
    rest, _, fragment = url.partition("#")
    remote, _, query = rest.partition("?")
    asked = dict(parse_qsl(query))
    reference = fragment.partition(":")[0] or asked.get("ref", "")
    for kind, prefix in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if kind in asked:
            reference = prefix + asked[kind].removeprefix(prefix)
    return f"{remote}#{reference}" if reference else remote


def strip_cache_imports(text: str) -> str:
    """Return the caches of a build without their attributes, which may be credentials, except name and scope.

    As buildx does for archives (``util/desktop/bundle``): what cannot be read is left out.
    """
    try:
        caches = [
            {"Type": one["Type"], "Attrs": {key: one["Attrs"][key] for key in ("ref", "scope") if key in one["Attrs"]}}
            for one in parse_json(text)
        ]
    except (ValueError, TypeError, KeyError):
        return ""
    return json.dumps(caches, separators=(",", ":"))


def format_time(nanoseconds: int) -> str:
    """Format a time as Go's RFC3339Nano in UTC."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}{digits and f'.{digits}'}Z"


def format_duration(nanoseconds: int) -> str:
    """Format a duration as buildx's history does: ``1.2s``, ``3m  4s``."""
    seconds = nanoseconds / _SECOND
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds / 60)}m {int(seconds) % 60:2d}s"
