"""The same command line becomes the same request, also where the image does not tell the difference."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from devcluster.parity.clients import Arena, Call
from tests.parity import record, remote, tree
from tests.parity.case import LETTERS

PLACE = "{registry}/tests/parity"
DOCKERFILE = "FROM scratch AS one\nCOPY a.txt /\nFROM one\nCOPY b.txt /\n"
PROXIES = """{"proxies": {
    "default": {"httpProxy": "http://default:1"},
    "tcp://127.0.0.1:2": {"httpProxy": "http://proxy:1", "httpsProxy": "http://proxy:2", "noProxy": "", "ftpProxy": "f"}
}}"""
EMPTY: Mapping[str, str] = {}
Places = Mapping[str, str]

REQUESTS = {
    "push": (("--push", "-t", f"{PLACE}:1", "."), EMPTY),
    "push for two platforms": (
        ("--push", "-t", f"{PLACE}:1", "-t", f"{PLACE}:2", "--platform", "linux/arm64/v8,linux/amd64", "."),
        EMPTY,
    ),
    "a folder below the checkout": (("--push", "-t", PLACE, "-f", "Dockerfile", "d"), EMPTY),
    "labels of git": (
        ("--push", "-t", PLACE, "."),
        {"BUILDX_GIT_LABELS": "1", "BUILDX_GIT_CHECK_DIRTY": "true"},
    ),
    "nothing of git": (("--push", "-t", PLACE, "."), {"BUILDX_GIT_INFO": "0"}),
    "provenance": (("--provenance", "mode=max,builder-id=here", "--push", "-t", PLACE, "."), EMPTY),
    "provenance, briefly": (("--provenance=true", "--push", "-t", PLACE, "."), EMPTY),
    "no provenance by default": (
        ("--output", "type=registry", "-t", PLACE, "."),
        {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "BUILDX_GIT_INFO": "false"},
    ),
    "an output of every kind": (
        (
            *(
                "--output",
                "type=image",
                "--output",
                f"type=registry,name={PLACE}:3",
                "--output",
                "type=tar,dest=/dev/null",
            ),
            *("--output", "type=local,dest=out", "--output", "type=oci,dest=/dev/null,compression=zstd", "."),
        ),
        EMPTY,
    ),
    "push beside another output": (
        ("--output", "type=oci,dest=/dev/null", "--push", "-t", PLACE, "--annotation", "index:a=b", "."),
        EMPTY,
    ),
    "caches": (
        (
            *("--cache-from", f"{PLACE}:cache", "--cache-from", f"type=registry,ref={PLACE}:other"),
            *("--cache-to", f"type=registry,ref={PLACE}:cache,mode=max", "--cache-to", "type=inline"),
            *("--push", "-t", PLACE, "."),
        ),
        EMPTY,
    ),
    "everything else": (
        (
            *("--target", "one", "--no-cache", "--pull", "--label", "a=b", "--build-arg", "A=1", "--build-arg", "B"),
            *("--build-arg", "BUILDKIT_INLINE_CACHE=1", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"),
            *("--push", "-t", PLACE, "."),
        ),
        {"B": "", "SOURCE_DATE_EPOCH": "7"},
    ),
    "proxies of docker's configuration": (
        ("--build-arg", "http_proxy=http://given:1", "--push", "-t", PLACE, "."),
        {"DOCKER_CONFIG": "{cwd}/proxied", "DOCKER_HOST": "tcp://127.0.0.1:2"},
    ),
    "another frontend": (
        ("--build-arg", "BUILDKIT_SYNTAX={registry}/no/frontend --x", "--push", "-t", PLACE, "."),
        EMPTY,
    ),
    "a repository": (("--push", "-t", PLACE, "{remote}/x.git"), EMPTY),
    "a folder of a repository": (("--push", "-t", PLACE, "{remote}/x.git#main:d"), EMPTY),
    "a repository by query": (("--push", "-t", PLACE, "-f", "d/File", "{remote}/x.git?branch=main"), EMPTY),
    "a repository with our Dockerfile": (("--push", "-t", PLACE, "-f", "{cwd}/d/File", "{remote}/x.git"), EMPTY),
    "a tarball": (("--push", "-t", PLACE, "{remote}/x.tar.gz"), EMPTY),
    "named contexts": (
        (
            *("--build-context", "folder=d", "--build-context", "image=docker-image://busybox"),
            *("--build-context", "git={remote}/x.git", "--push", "-t", PLACE, "."),
        ),
        EMPTY,
    ),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a commit and a remote, and something that is in no commit."""
    folder = tmp_path_factory.mktemp("checkout") / "repository"
    below = {"d/Dockerfile": DOCKERFILE, "d/File": DOCKERFILE}
    tree.plant(folder, {"Dockerfile": DOCKERFILE, **LETTERS, **below, "new": "x"})
    remote.commit(folder, "Dockerfile", "a.txt", "b.txt", "d")
    tree.plant(folder / "proxied", {"config.json": PROXIES})
    remote.git(folder, "remote", "add", "origin", "https://user:password@host.example/team/repository.git")
    return folder


@pytest.fixture(scope="module")
def places(checkout: Path, cluster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """What stands for the names in braces."""
    with remote.served(checkout, tmp_path_factory.mktemp("served")) as url:
        yield {"registry": cluster_env["REGISTRY"], "remote": url, "cwd": str(checkout)}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_request_is_the_same(name: str, arena: Arena, checkout: Path, places: Places) -> None:
    argv, env = REQUESTS[name]
    env = {variable: value.format_map(places) for variable, value in env.items()}
    call = Call(argv=[word.format_map(places) for word in argv], env=env, cwd=checkout)
    before = record.requests(arena.history())
    arena.ours(call)
    between = record.requests(arena.history())
    arena.theirs(call)
    after = record.requests(arena.history())
    (ours,) = between.keys() - before.keys()
    (theirs,) = after.keys() - between.keys()
    assert after[ours] == after[theirs]
