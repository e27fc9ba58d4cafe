"""Two nodes push by digest, and what is joined of their images is the same index."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.model import reference
from ci_buildx.registry import credentials, index
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.trust import read_trust
from devcluster.buildkitd import section
from devcluster.parity import clients
from devcluster.parity.clients import Arena, Call
from tests.integration.buildkit.conftest import forwarding
from tests.parity import tree
from tests.parity.case import LETTERS, SOURCE_DATE_EPOCH

DOCKERFILE = "FROM scratch\nARG TARGETARCH\nLABEL a=$TARGETARCH\nCOPY . /\n"
AMD64, ARM64 = "linux/amd64", "linux/arm64"


@pytest.fixture
def second(cluster_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Another buildkitd: buildx gives both nodes' builds the same name, which one daemon does not take twice."""
    (tmp_path / "second").mkdir()
    with clients.daemon(cluster_env["REGISTRY"], tmp_path / "second") as address:
        yield address


@pytest.fixture
def registry(cluster_env: dict[str, str]) -> Iterator[str]:
    """The registry at localhost, where buildx, too, takes one without TLS."""
    with forwarding(cluster_env["REGISTRY"]) as (address, _):
        yield address.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("notes", [(), ("--annotation", "index,manifest:a=b")], ids=["plain", "annotated"])
def test_the_index_is_the_same(
    notes: tuple[str, ...], arena: Arena, second: str, registry: str, tmp_path: Path
) -> None:
    cwd = tmp_path / "context"
    tree.plant(cwd, {"Dockerfile": DOCKERFILE, **LETTERS})
    tag = f"{registry}/tests/parity/merged:1"
    argv = ("--provenance=false", "--output", "type=registry,rewrite-timestamp=true", *notes, "--tag", tag)
    digests = [
        arena.push_by_digest(Call(argv=(*argv, "--platform", platform, "."), env=SOURCE_DATE_EPOCH, cwd=cwd))
        for platform in (AMD64, ARM64)
    ]
    target = reference.parse_reference(tag)
    trust = read_trust(section(registry, ["http = true"]))
    with RegistryClient(credentials.load_credentials({"HOME": str(tmp_path)}), trust=trust) as client:
        ours = index.merge_index(client, target, [target], digests, annotations={"a": "b"} if notes else None)
    arena.prune()
    nodes = {AMD64: arena.address, ARM64: second}
    theirs = arena.push_from_nodes(Call(argv=(*argv, "."), env=SOURCE_DATE_EPOCH, cwd=cwd), nodes)
    arena.prune()
    assert ours.digest == theirs
