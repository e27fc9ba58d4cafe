"""What arrives in the image, from us and from buildx, over random trees, ignore files and COPY instructions."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from devcluster import random_trees as trees
from devcluster.parity.clients import Arena, Call, Client

_WILDCARDS = ("*", "?", "[!b]*", "*.*")
_COPIES = 3
_OLD = 1_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A Dockerfile and its ignore file, None where the context has one of its own or none."""

    dockerfile: str
    ignore: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How many entries arrived from buildx, and a line for each that differs from ours."""

    entries: int
    differences: tuple[str, ...]


def compare(seed: int, arena: Arena) -> Outcome:
    """Build the tree of a number with both."""
    with tempfile.TemporaryDirectory() as folder:
        return _compare_in(Path(folder), seed, arena)


def _compare_in(folder: Path, seed: int, arena: Arena) -> Outcome:
    choice = random.Random(seed)
    context = folder / "context"
    context.mkdir()
    trees.plant(context, choice)
    _age(context)
    question = _ask(context, choice)
    (folder / "Dockerfile").write_text(question.dockerfile)
    if question.ignore is not None:
        (folder / "Dockerfile.dockerignore").write_text(question.ignore)
    ours = _arrivals(arena.ours, folder, folder / "ours.tar")
    arena.prune()
    theirs = _arrivals(arena.theirs, folder, folder / "theirs.tar")
    arena.prune()
    lines = sorted(set(ours) ^ set(theirs)) or ["in another order"] if ours != theirs else []
    told = (f"seed {seed}, {question}: only {'we' if line in ours else 'buildx'}: {line}" for line in lines)
    return Outcome(entries=len(theirs), differences=tuple(told))


def _age(context: Path) -> None:
    """Links and special files get a time, too: what is as young as the build is taken for a work of the build."""
    for number, path in enumerate(sorted(context.rglob("*"))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            moment = (_OLD + number) * 10**9 + number
            os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _ask(context: Path, choice: random.Random) -> Question:
    """COPY everything, and some patterns that are made of names which are there."""
    paths = sorted(str(path.relative_to(context)) for path in context.rglob("*"))
    lines = ["FROM scratch", "COPY . /all/"]
    for number in range(choice.randrange(_COPIES)):
        option = choice.choice(("", "", "--parents ", "--exclude=**/a "))
        lines.append(f"COPY {option}{json.dumps([_pattern(choice.choice(paths), choice), f'/{number}/'])}")
    patterns = trees.ask(choice).exclude
    return Question(dockerfile="\n".join(lines), ignore="\n".join(patterns) if patterns else None)


def _pattern(path: str, choice: random.Random) -> str:
    """A pattern for a path, with a wildcard in it, so that it may match nothing."""
    segments = path.encode(errors="replace").decode().split("/")
    place = choice.randrange(len(segments))
    segments[place] = choice.choice((segments[place][:1], "")) + choice.choice(_WILDCARDS)
    return "/".join(segments)


def _arrivals(client: Client, folder: Path, target: Path) -> list[str]:
    """A line for each file in the image; for a build that fails, that it does."""
    argv = ("--provenance=false", "--file", "Dockerfile", "--output", f"type=tar,dest={target}", "context")
    began = int(time.time()) - 1
    if client(Call(argv=argv, env={}, cwd=folder)):
        return ["an error"]
    with tarfile.open(target, errors="surrogateescape") as archive:
        return [_shown(archive, member, made=range(began, int(time.time()) + 2)) for member in archive]


def _shown(archive: tarfile.TarFile, member: tarfile.TarInfo, made: range) -> str:
    """Everything that a tar has; of folders that the build has ``made`` by itself not the time."""
    content = archive.extractfile(member) if member.isreg() else None
    fields = {
        "name": member.name,
        "type": member.type,
        "mode": oct(member.mode),
        "owner": (member.uid, member.gid),
        "size": member.size,
        "time": None if int(member.mtime) in made else member.mtime,
        "link": member.linkname,
        "device": (member.devmajor, member.devminor),
        "more": {key: value for key, value in member.pax_headers.items() if key != "mtime"},
        "content": hashlib.sha256(content.read()).hexdigest() if content else "",
    }
    return str(fields)
