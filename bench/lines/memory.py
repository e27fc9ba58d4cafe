"""Peak memory of the client: for an empty build, many files, a large file, and an ignored large file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import content, ours
from bench.arena import Arena
from bench.ground import PLATFORM
from bench.series import Comparison, Contestant, Limit, Series, alternate

TINY = "10 files"
SOME = "10 files, 500 MB in one"
MANY = "100,000 files"
LARGE = "10 files, 5 GB in one"
IGNORED = "10 files, 20 GB in an ignored folder"
REMOTE = "100,000 files: buildx, remote driver"

FILES = 100_000
_FEW = 10
_MB = 1_000_000


def compare(arena: Arena) -> Iterator[Comparison]:
    """Measure whole builds on a running builder; the peak is the client's own. buildx is measured for many files."""
    folder = arena.ground.folder / "memory"
    wanted = ["--platform", PLATFORM]

    def contestant(name: str, *, files: int = _FEW, big: int = 0, ignored: int = 0) -> Contestant:
        context = prepare(folder / name.replace(" ", "-"), files=files, big=big, ignored=ignored)
        own = [*wanted, "--builder", arena.kept]
        return Contestant(name=name, perform=lambda _: ours.build(arena.ground, context, *own))

    contestants = [
        contestant(TINY),
        contestant(SOME, big=500 * _MB),
        contestant(MANY, files=FILES),
        contestant(LARGE, big=5000 * _MB),
        contestant(IGNORED, ignored=20_000 * _MB),
    ]
    many = folder / MANY.replace(" ", "-")
    theirs = Contestant(name=REMOTE, perform=lambda _: arena.peer.build(arena.remote, many, *wanted))
    series = alternate([*contestants, theirs], arena.count(1))
    yield Comparison(title="memory of the client: peak", reference=TINY, series=series, limits=limits(series))


def limits(series: tuple[Series, ...]) -> tuple[Limit, ...]:
    """Return the limits, in MB and bytes."""
    peak = {one.name: one.peak for one in series}
    for_each = (peak[MANY] - peak[TINY]) * _MB / FILES
    return (
        Limit(what="a tiny build, MB", figure=peak[TINY], most=80),
        Limit(what="each of 100,000 files, bytes more", figure=for_each, most=100),
        Limit(what="5 GB instead of 500 MB, MB more", figure=peak[LARGE] - peak[SOME], most=2),
        Limit(what="20 GB that are ignored, MB more", figure=peak[IGNORED] - peak[TINY], most=1),
    )


def prepare(folder: Path, *, files: int = _FEW, big: int = 0, ignored: int = 0) -> Path:
    """Create a context with small files and with sparse files of the given sizes, which are read and sent as usual."""
    content.make(folder, big=0, count=files, small=10)
    (folder / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=bind,target=/context test -e /context/big\n")
    (folder / ".dockerignore").write_text("ignored\n")
    (folder / "ignored").mkdir()
    for path, size in ((folder / "big", big), (folder / "ignored" / "file", ignored)):
        with path.open("ab") as file:
            file.truncate(size)
    return folder
