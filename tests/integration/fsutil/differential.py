"""Our walks against those of tonistiigi/fsutil itself, over random trees and patterns."""

import base64
import json
import os
import random
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import PatternError, TreeEntry
from ci_buildx.fsutil.walk import walk_tree
from devcluster import random_trees as trees
from devcluster import toolchain

SOURCE = Path(__file__).parents[2] / "differential" / "fsutil"
#: Lists of patterns that are tried on each tree: a tree costs more to make than to walk.
QUESTIONS = 8


def build(folder: Path) -> Path:
    """Compile the Go program that walks with fsutil, into ``folder``."""
    program = folder / "fsutil"
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "", "CGO_ENABLED": "0"}
    subprocess.run([toolchain.go(), "build", "-o", program, "."], cwd=SOURCE, env=environment, check=True, timeout=600)
    return program


class Reference:
    """The Go program, running."""

    def __init__(self, questions: IO[str], answers: IO[str]) -> None:
        self._questions = questions
        self._answers = answers

    def walk(self, root: Path, patterns: trees.Patterns) -> list[bytes] | None:
        """Return the serialized Stats that buildx would send, None where it calls a pattern malformed."""
        question = {
            "root": _packed(os.fspath(root)),
            "include": [_packed(pattern) for pattern in patterns.include] or None,
            "exclude": [_packed(pattern) for pattern in patterns.exclude] or None,
            "follow": [_packed(pattern) for pattern in patterns.follow] or None,
        }
        print(json.dumps(question), file=self._questions, flush=True)
        answer = json.loads(self._answers.readline())
        if error := answer.get("error"):
            assert "syntax error in pattern" in error or "illegal exclusion pattern" in error, error
            return None
        return [base64.b64decode(entry) for entry in answer["entries"] or ()]


@contextmanager
def reference(program: Path) -> Iterator[Reference]:
    """Run the Go program for as long as it is asked."""
    pipe = subprocess.PIPE
    # What Go's scanner of patterns has to say about invalid UTF-8 is of no interest.
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield Reference(process.stdin, process.stdout)
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def differences(seeds: Iterable[int], program: Path) -> Iterator[str]:
    """Yield a line for each tree and list of patterns where we and fsutil do not send the same bytes."""
    with reference(program) as theirs:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                yield from _differences_in(Path(folder), seed, theirs)


def _differences_in(root: Path, seed: int, theirs: Reference) -> Iterator[str]:
    choice = random.Random(seed)
    trees.plant(root, choice)
    for _ in range(QUESTIONS):
        patterns = trees.ask(choice)
        expected, found = theirs.walk(root, patterns), _our_walk(root, patterns)
        if expected != found:
            yield f"seed {seed}, {patterns}: fsutil sends {_shown(expected)}, we send {_shown(found)}"


def _our_walk(root: Path, patterns: trees.Patterns) -> list[bytes] | None:
    try:
        entries = list(walk_tree(root, include=patterns.include, exclude=patterns.exclude, follow=patterns.follow))
    except PatternError:
        return None
    return [packets.encode_stat_fields(entry) for entry in entries]


def _shown(stats: list[bytes] | None) -> list[TreeEntry] | str:
    return "an error" if stats is None else [packets.decode_stat(entry) for entry in stats]


def _packed(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()
