import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build.caches import CacheOptionsOfBuild, NodeCaches, list_platforms
from ci_buildx.builder.plan import NodePlan
from ci_buildx.errors import BuildkitError
from ci_buildx.model.platform import Platform
from ci_buildx.session import oci_layout
from ci_buildx.session.oci_layout import LayoutName
from ci_buildx.settings.values import BuildSettings, TypedAttributes

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def descriptor(number: int) -> dict[str, Any]:
    return {"mediaType": "m", "digest": f"sha256:{number:064}", "size": 1}


def local(**attrs: object) -> TypedAttributes:
    return TypedAttributes(type="local", attrs=tuple((name, str(value)) for name, value in attrs.items()))


def share(
    *,
    platform: Platform = AMD64,
    all_platforms: tuple[Platform, ...] = (),
    several: bool = False,
    layout: Path | None = None,
    **build: Any,
) -> NodeCaches:
    settings = BuildSettings(context=Path("/c"), dockerfile=Path("/c/Dockerfile"), **build)
    return NodeCaches(
        build=settings,
        layout=layout,
        platforms=(platform,),
        all_platforms=all_platforms or (platform,),
        several=several,
    )


def prepare(one: NodeCaches) -> CacheOptionsOfBuild:
    return one.prepare({}, warn=lambda text: pytest.fail(text))


def keep(folder: Path, number: int, tag: str = "latest") -> None:
    """What a build does at its end; the blob is there."""
    blob = folder / "blobs" / "sha256" / f"{number:064}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_text("x")
    share(cache_to=(local(dest=folder, tag=tag),)).keep({"cache.manifest": json.dumps(descriptor(number))})


def digests(caches: CacheOptionsOfBuild) -> list[int]:
    return [int(cache.get("digest").removeprefix("sha256:")) for cache in caches.imports]


def test_what_is_not_local_is_sent_as_it_is() -> None:
    registry = TypedAttributes(type="registry", attrs=(("ref", "r"),))
    caches = prepare(share(cache_from=(registry,), cache_to=(registry, TypedAttributes(type="inline"))))
    assert caches == CacheOptionsOfBuild(
        imports=(registry,), exports=(registry, TypedAttributes(type="inline")), layouts={}
    )


def test_the_cache_of_github_actions() -> None:
    gha = TypedAttributes(type="gha", attrs=(("mode", "max"),))
    one = share(cache_from=(gha,), cache_to=(gha,))
    env = {"ACTIONS_RESULTS_URL": "https://results/", "ACTIONS_RUNTIME_TOKEN": "t0ken"}
    caches = one.prepare(env, warn=lambda text: pytest.fail(text))
    assert {dict(cache.attrs)["token"] for cache in (*caches.imports, *caches.exports)} == {"t0ken"}
    warnings: list[str] = []
    assert one.prepare({}, warn=warnings.append) == CacheOptionsOfBuild(imports=(), exports=(), layouts={})
    assert [text.partition(":")[0] for text in warnings] == ["the cache of type=gha is skipped"]


def test_a_local_cache(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    caches = prepare(share(cache_from=(local(src=tmp_path),), cache_to=(local(dest=tmp_path / "new", mode="max"),)))
    assert [dict(cache.attrs) for cache in caches.imports] == [{"src": str(tmp_path), "digest": f"sha256:{1:064}"}]
    assert [dict(cache.attrs) for cache in caches.exports] == [{"dest": str(tmp_path / "new"), "mode": "max"}]
    writable = {name: layout.writable for name, layout in caches.layouts.items()}
    assert writable == {f"local:{tmp_path}": False, f"local:{tmp_path}/new": True}


def test_the_same_folder_for_both(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    caches = prepare(share(cache_from=(local(src=tmp_path),), cache_to=(local(dest=tmp_path),)))
    assert caches.layouts[f"local:{tmp_path}"].writable


def test_names_that_metadata_cannot_carry(tmp_path: Path) -> None:
    caches = prepare(share(cache_to=(local(dest=tmp_path / "ü %"),)))
    (name,) = caches.layouts
    assert name == f"local:{tmp_path}/%C3%BC %25"
    assert caches.exports[0].get("dest") == name.removeprefix("local:")
    assert caches.layouts[name].folder == tmp_path / "ü %"


def test_what_several_nodes_wrote_before_is_still_found(tmp_path: Path) -> None:
    """Their caches had tags of their own, besides the one that the last one had."""
    keep(tmp_path, 1)
    for number, tag in enumerate(("latest-linux-amd64", "latest-linux-arm64"), start=1):
        keep(tmp_path, number, tag=tag)
    keep(tmp_path, 2)
    wanted: dict[str, Any] = {"cache_from": (local(src=tmp_path),)}
    assert digests(prepare(share(**wanted, several=True, platform=AMD64))) == [1, 2]
    assert digests(prepare(share(**wanted, several=True, platform=ARM64))) == [2]


def test_of_several_nodes_none_names_its_cache(tmp_path: Path) -> None:
    share(cache_to=(local(dest=tmp_path),), several=True).keep({"cache.manifest": json.dumps(descriptor(1))})
    assert not (tmp_path / "index.json").exists()


def test_a_node_reads_the_names_of_all_and_writes_its_own() -> None:
    s3 = TypedAttributes(type="s3", attrs=(("bucket", "b"),))
    one = share(cache_from=(s3,), cache_to=(s3,), several=True, platform=ARM64, all_platforms=(AMD64, ARM64))
    caches = prepare(one)
    assert [cache.get("name") for cache in caches.imports] == ["", "buildkit-linux-amd64", "buildkit-linux-arm64"]
    assert [cache.get("name") for cache in caches.exports] == ["buildkit-linux-arm64"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (NodePlan(name="n", architecture="arm64", platforms=(Platform("linux", "arm", "v7"), ARM64)), ARM64),
        (NodePlan(name="n", architecture="amd64", platforms=(ARM64,)), ARM64),
        (NodePlan(name="n", architecture="arm64"), ARM64),
        (NodePlan(name="n", architecture=None, runs=(AMD64,)), AMD64),
        (NodePlan(name="n", architecture=None), None),
    ],
)
def test_a_nodes_caches_are_known_by_its_native_platform(node: NodePlan, expected: Platform | None) -> None:
    assert next(iter(list_platforms(node)), None) == expected


def test_a_layout_gets_its_image_names(tmp_path: Path) -> None:
    encoded = base64.b64encode(json.dumps(descriptor(1)).encode()).decode()
    one = share(layout=tmp_path)
    assert prepare(one).layouts["export"].writable
    one.keep({"containerimage.descriptor": encoded, "image.name": "docker.io/a/b:1,docker.io/a/b:2"})
    assert [oci_layout.find_digest(tmp_path, f"docker.io/a/b:{tag}") for tag in "12"] == [f"sha256:{1:064}"] * 2
    one.keep({"containerimage.descriptor": encoded})
    assert oci_layout.find_digest(tmp_path, "latest") == f"sha256:{1:064}"


def test_nothing_was_exported(tmp_path: Path) -> None:
    share(cache_to=(local(dest=tmp_path / "c"),), layout=tmp_path / "l").keep({})
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BuildkitError, match="invalid JSON for the exported cache"):
        share(cache_to=(local(dest=tmp_path),)).keep({"cache.manifest": "{"})


def test_names_are_not_lost_to_tags(tmp_path: Path) -> None:
    oci_layout.put_entry(tmp_path, descriptor(1), [LayoutName.from_image("h/a:latest")])
    keep(tmp_path, 2)
    assert len(json.loads((tmp_path / "index.json").read_bytes())["manifests"]) == 2
