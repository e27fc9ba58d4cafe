"""Calls of the frontend: what we print is what buildx prints, and it exits with the same code."""

import json
from pathlib import Path
from typing import Any

import pytest

from devcluster.parity.clients import Arena, Call

FLAWED = """\
# Where it begins
FROM scratch as base
ARG VERSION=1
COPY --chmod=644 . /
# The one that is shipped
FROM base AS shipped
RUN --mount=type=secret,id=token,required=true --mount=type=ssh x
CMD echo $VERSION
"""
CLEAN = "FROM scratch\nCOPY note /\n"
WRONG = "FROM scratch AS a\nCOPPY . /\n"


@pytest.mark.parametrize(
    ("dockerfile", "options"),
    [
        (FLAWED, ["--call", "check"]),
        (FLAWED, ["--check", "-f", "context/Dockerfile"]),
        (FLAWED, ["--call", "check,format=json"]),
        (FLAWED, ["--call", "check,ignorestatus=true"]),
        (FLAWED, ["--call", "outline", "--target", "shipped"]),
        (FLAWED, ["--call", "outline,format=json", "--build-arg", "VERSION=2"]),
        (FLAWED, ["--call", "targets"]),
        (FLAWED, ["--call", "targets,format=json"]),
        (FLAWED, ["--call", "subrequests.describe"]),
        (CLEAN, ["--call", "check"]),
    ],
)
def test_what_is_printed(arena: Arena, tmp_path: Path, dockerfile: str, options: list[str]) -> None:
    call = planted(tmp_path, dockerfile, options)
    assert without_session(arena.called_ours(call)) == without_session(arena.called_theirs(call))


def test_an_error_in_the_dockerfile(arena: Arena, tmp_path: Path) -> None:
    """Theirs goes to standard error, ours to where the findings are."""
    call = planted(tmp_path, WRONG, ["--call", "check"])
    (code, ours), (their_code, _) = arena.called_ours(call), arena.called_theirs(call)
    assert (code, their_code) == (1, 1)
    assert ours == (
        "ERROR: dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)\n"
        "context/Dockerfile:2\n--------------------\n   1 |     FROM scratch AS a\n   2 | >>> COPPY . /\n   3 |     \n"
        "--------------------\n"
    )


def planted(folder: Path, dockerfile: str, options: list[str]) -> Call:
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text(dockerfile)
    return Call(argv=(*options, "context"), env={}, cwd=folder)


def without_session(answer: tuple[int, str]) -> tuple[int, Any]:
    """Of JSON without the sources' definitions, which hold the session's random name."""
    code, text = answer
    if not text.startswith("{"):
        return code, text
    found = json.loads(text)
    for source in found.get("sources", []):
        if isinstance(source, dict):
            del source["definition"]
    return code, found
