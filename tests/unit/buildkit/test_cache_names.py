import pytest

from ci_buildx.buildkit.remote_cache import make_own_reference, needs_tags, read_all, write_own
from ci_buildx.model.platform import Platform
from ci_buildx.settings.values import TypedAttributes

AMD64, ARM64, ARMV7 = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "arm", "v7")
NO_DIGEST = "sha256:" + "0" * 64


def cache(type_: str, **attrs: str) -> TypedAttributes:
    return TypedAttributes(type=type_, attrs=tuple(attrs.items()))


def test_a_node_reads_the_plain_name_and_those_of_all_platforms() -> None:
    found = read_all([cache("gha", scope="app", mode="max")], (AMD64, ARMV7))
    assert [one.get("scope") for one in found] == ["app", "app-linux-amd64", "app-linux-arm-v7"]
    assert {one.get("mode") for one in found} == {"max"}


def test_what_has_one_manifest_is_read_once() -> None:
    given = (cache("registry", ref="h/a"), cache("local", src="/c"), cache("inline"))
    assert read_all([*given, given[0]], (AMD64, ARM64)) == given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (cache("gha"), cache("gha", scope="buildkit-linux-arm64")),
        (cache("gha", scope="a;b"), cache("gha", scope="a;b-linux-arm64")),
        (cache("s3", bucket="b", name="x;y"), cache("s3", bucket="b", name="x-linux-arm64;y-linux-arm64")),
        (cache("azblob"), cache("azblob", name="buildkit-linux-arm64")),
        (cache("inline"), cache("inline")),
        (cache("local", dest="/c"), cache("local", dest="/c")),
        (
            cache("registry", ref="a:1", mode="max"),
            cache("registry", ref=f"docker.io/library/a@{NO_DIGEST}", mode="max"),
        ),
    ],
)
def test_each_of_several_nodes_writes_its_own(given: TypedAttributes, expected: TypedAttributes) -> None:
    assert write_own([given], ARM64) == (expected,)


def test_of_several_caches_each_has_a_tag_by_which_it_is_found() -> None:
    given = (cache("registry", ref="h/a:cache"), cache("registry", ref="h/b"))
    assert needs_tags(given)
    assert needs_tags((given[0], cache("local", dest="/c")))
    assert not needs_tags((given[0], cache("inline"), cache("gha")))
    assert [one.get("ref") for one in write_own(given, ARM64)] == [
        "docker.io/h/a:cache-linux-arm64",
        "docker.io/h/b:latest-linux-arm64",
    ]


def test_a_tag_is_never_too_long() -> None:
    reference = make_own_reference(cache("registry", ref=f"h/a:{'t' * 128}"), ARM64)
    assert reference.endswith("ttt-linux-arm64")
    assert len(reference.rpartition(":")[2]) == 128


def test_a_digest_has_no_tag_to_begin_with() -> None:
    assert make_own_reference(cache("registry", ref=f"h/a@{NO_DIGEST}"), ARM64) == "docker.io/h/a:buildkit-linux-arm64"
