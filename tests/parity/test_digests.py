"""The same command line gives the same image, whoever of the two builds it."""

import tarfile
from pathlib import Path

import pytest

from devcluster.parity.clients import Arena, Call, Client
from tests.parity import contexts, instructions, tree
from tests.parity.case import Case


@pytest.mark.parametrize("case", instructions.CASES + contexts.CASES, ids=str)
def test_the_image_is_the_same(case: Case, arena: Arena, tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    tree.plant(cwd, {**below("context", {case.place: case.dockerfile, **case.tree}), **case.beside})
    ours = built(arena.ours, case, cwd, tmp_path / "ours.tar")
    arena.prune()
    theirs = built(arena.theirs, case, cwd, tmp_path / "theirs.tar")
    arena.prune()
    assert ours == theirs


def built(client: Client, case: Case, cwd: Path, target: Path) -> dict[str, bytes]:
    """Every blob's name and everything that names them."""
    output = f"type=oci,dest={target},rewrite-timestamp=true"
    failure = client(Call(argv=("--provenance=false", "--output", output, *case.argv), env=case.env, cwd=cwd))
    assert not failure
    with tarfile.open(target) as archive:
        return {member.name: content(archive, member) for member in archive if member.isfile()}


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """JSON as it is; of layers the name, which is their digest, says enough."""
    file = archive.extractfile(member)
    assert file is not None
    return file.read(1 << 16) if member.size < 1 << 16 else b""


def below(folder: str, nodes: tree.Tree) -> tree.Tree:
    """The same in a folder; hardlinks' first names move along."""
    moved = {
        name: tree.Hardlink(f"{folder}/{node.first}") if isinstance(node, tree.Hardlink) else node
        for name, node in nodes.items()
    }
    return {f"{folder}/{name}": node for name, node in moved.items()}
