"""The attestations of an image say the same of its making."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from devcluster.parity.clients import Arena, Call, Client
from tests.parity import remote, tree
from tests.parity.case import LETTERS

DOCKERFILE = """\
FROM busybox AS one
ARG WORD
RUN --mount=type=secret,id=hush echo $WORD > /word
FROM scratch
COPY --from=one /word /
COPY a.txt /
"""
#: What differs from build to build: its ids, times, the session's part in steps' digests, layers as they were made.
OF_THE_MOMENT = (
    *("buildInvocationID", "invocationId", "buildStartedOn", "buildFinishedOn", "startedOn", "finishedOn"),
    *("digestMapping", "layers"),
)
#: buildx calls the frontend itself, through the gateway, so that its request appears once more, as the outer one.
OF_THE_GATEWAY = ("root",)


@pytest.mark.parametrize("mode", ["min", "max", "max,version=v0.2"])
def test_the_provenance_is_the_same(mode: str, arena: Arena, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    tree.plant(checkout, {"Dockerfile": DOCKERFILE, **LETTERS})
    remote.commit(checkout, "Dockerfile")
    remote.git(checkout, "remote", "add", "origin", "https://host.example/x.git")
    ours = statements(arena.ours, checkout, mode, tmp_path / "ours.tar")
    arena.prune()
    theirs = statements(arena.theirs, checkout, mode, tmp_path / "theirs.tar")
    arena.prune()
    assert ours == theirs
    assert "https://host.example/x.git" in str(ours)


def statements(client: Client, cwd: Path, mode: str, target: Path) -> list[Any]:
    """The statements in the image, without what differs from build to build."""
    argv = (
        *("--provenance", f"mode={mode}", "--build-arg", "WORD=x", "--secret", "id=hush,env=HUSH"),
        *("--output", f"type=oci,dest={target},rewrite-timestamp=true", "."),
    )
    failure = client(Call(argv=argv, env={"HUSH": "hush", "SOURCE_DATE_EPOCH": str(tree.EPOCH)}, cwd=cwd))
    assert not failure
    with tarfile.open(target) as archive:
        files = (archive.extractfile(member) for member in archive if member.isfile())
        texts = [text for file in files if file and (text := file.read()).startswith(b'{"_type"')]
    return [timeless(json.loads(text)) for text in texts]


def timeless(value: Any) -> Any:
    match value:
        case dict():
            return {key: timeless(item) for key, item in value.items() if key not in OF_THE_MOMENT + OF_THE_GATEWAY}
        case list():
            return [timeless(item) for item in value]
        case _:
            return value
