from pathlib import Path
from typing import Any

import pytest

from ci_buildx.buildkit import exporters
from ci_buildx.buildkit.exporters import Exports, Push
from ci_buildx.buildkit.messages import ExporterEntry
from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.session.file_targets import FileTarget, FolderTarget
from ci_buildx.settings.values import BuildSettings, TypedAttributes

TWO = (Platform("linux", "amd64"), Platform("linux", "arm64"))


def output(type_: str, **attrs: str) -> TypedAttributes:
    return TypedAttributes(type=type_, attrs=tuple(attrs.items()))


def make(*outputs: TypedAttributes, by_digest: bool = False, **build: Any) -> Exports:
    settings = BuildSettings(context=Path("/src"), dockerfile=Path("/src/Dockerfile"), outputs=outputs, **build)
    return exporters.make_exports(settings, by_digest=by_digest)


def test_no_output_exports_nothing() -> None:
    assert make() == Exports(exporters=(), targets={})
    assert make(output("cacheonly")).exporters == ()


def test_push_adds_an_image() -> None:
    made = make(push=True, tags=("host/a:1", "host/b"))
    assert made.exporters == (ExporterEntry("image", {"push": "true", "unpack": "false", "name": "host/a:1,host/b"}),)


def test_push_makes_the_given_image_one_that_is_pushed() -> None:
    made = make(output("image", compression="zstd"), push=True, tags=("host/a",))
    assert made.exporters == (ExporterEntry("image", {"compression": "zstd", "push": "true", "name": "host/a"}),)


def test_registry_is_an_image_that_is_pushed() -> None:
    made = make(output("registry", unpack="true"), tags=("host/a",))
    assert made.exporters == (ExporterEntry("image", {"unpack": "true", "push": "true", "name": "host/a"}),)


def test_by_digest_only_repositories_are_named() -> None:
    made = make(push=True, tags=("a:1", "a:2", "h:5/b"), by_digest=True)
    (image,) = made.exporters
    assert image.attrs["name"] == "docker.io/library/a,h:5/b"
    assert image.attrs["push-by-digest"] == "true"


@pytest.mark.parametrize(
    ("outputs", "build", "expected"),
    [
        ((output("registry", name="h/a:1"),), {}, Push(names=("h/a:1",))),
        ((output("image", name="h/a:1,h/b", push="true"),), {}, Push(names=("h/a:1", "h/b"))),
        ((output("image", name="h/a:1", push=""),), {}, Push(names=("h/a:1",))),
        ((output("image", name="h/a:1", push="true"),), {"tags": ("h/t:2", "u")}, Push(names=("h/t:2", "u"))),
        ((output("image", name="h/a:1"),), {"push": True}, Push(names=("h/a:1",))),
        ((), {"push": True, "tags": ("h/a:1",)}, Push(names=("h/a:1",))),
        (
            (output("registry", **{"name": "h/a", "push-by-digest": "true", "name-canonical": "true"}),),
            {},
            Push(names=("h/a",), by_digest=True),
        ),
        (
            (output("registry", **{"name": "h/a:1", "dangling-name-prefix": "h/d", "registry.insecure": ""}),),
            {},
            Push(names=("h/a:1",), dangling="h/d", insecure=True),
        ),
        (
            (output("registry", **{"name": "h/a", "dangling-name-prefix": "h/d", "danging-name-empty-only": "1"}),),
            {},
            Push(names=("h/a",)),
        ),
        ((output("image", name="h/a"), output("oci", dest="/o", name="h/b")), {"tags": ("h/t",)}, None),
        ((output("cacheonly"),), {}, None),
    ],
)
def test_what_is_pushed(outputs: tuple[TypedAttributes, ...], build: dict[str, Any], expected: Push | None) -> None:
    settings = BuildSettings(context=Path("/src"), dockerfile=Path("/src/Dockerfile"), outputs=outputs, **build)
    assert exporters.find_push(settings) == expected


def test_annotations_of_the_index_come_from_output_and_build() -> None:
    typed = output(
        "registry", **{"name": "h/a", "annotation-index.k": "v", "annotation-index.l": "v", "annotation.m": "v"}
    )
    settings = BuildSettings(
        context=Path("/src"), dockerfile=None, outputs=(typed,), annotations=(("index:l", "w"), ("manifest:n", "w"))
    )
    push = exporters.find_push(settings)
    assert push is not None
    assert push.annotations == (("k", "v"), ("l", "w"))


def test_references_have_tags_unless_they_are_pushed_by_digest() -> None:
    names = ("a", "h:5/b:1")
    assert [str(one) for one in Push(names=names).references] == ["docker.io/library/a:latest", "h:5/b:1"]
    assert [str(one) for one in Push(names=("h:5/b",), by_digest=True).references] == ["h:5/b"]


def test_a_node_of_several_pushes_to_repositories_alone() -> None:
    attrs = {"name": "a:1,h/b", "dangling-name-prefix": "h/d", "registry.insecure": "true"}
    (image,) = make(output("registry", **attrs), by_digest=True).exporters
    names = {"name": "docker.io/library/a,docker.io/h/b", "push-by-digest": "true"}
    assert image.attrs == {"unpack": "false", "push": "true", "registry.insecure": "true"} | names


def test_attestations_are_no_artifacts_where_the_environment_says_so() -> None:
    typed = output("image", **{"oci-artifact": "true"})
    made = make(typed, output("oci", dest="/o"), output("tar", dest="-"), oci_artifact=False)
    assert [entry.attrs.get("oci-artifact") for entry in made.exporters] == ["true", "false", None]
    (image,) = make(push=True, tags=("h/a",), oci_artifact=False).exporters
    assert image.attrs["oci-artifact"] == "false"


def test_a_folder_that_is_to_hold_nothing_else_is_told_what_was_built() -> None:
    made = make(output("local", dest="/out", mode="delete"), output("local", dest="/other", mode="copy"))
    assert made.exporters[0] == ExporterEntry("local", {"mode": "delete"})
    assert made.targets == {0: FolderTarget(path=Path("/out"), built=set()), 1: FolderTarget(path=Path("/other"))}


def test_destinations_stay_here() -> None:
    made = make(output("local", dest="/out"), output("tar", dest="-"), output("oci", dest="/o.tar"), tags=("a",))
    assert made.exporters == (ExporterEntry("local", {}), ExporterEntry("tar", {}), ExporterEntry("oci", {"name": "a"}))
    assert made.targets == {
        0: FolderTarget(path=Path("/out")),
        1: FileTarget(path=None),
        2: FileTarget(path=Path("/o.tar")),
    }


def test_annotations_go_to_every_output() -> None:
    pairs = (("k", "v"), ("index:k", "w"), ("manifest[linux/amd64]:k", "x"))
    made = make(output("image"), annotations=pairs)
    assert made.exporters[0].attrs == {
        "annotation.k": "v",
        "annotation-index.k": "w",
        "annotation-manifest[linux/amd64].k": "x",
    }


@pytest.mark.parametrize(
    ("outputs", "build", "message"),
    [
        ((), {"push": True}, "pushing requires a tag"),
        (
            (output("oci", dest="/o", tar="false"), output("docker", dest="/d", tar="false")),
            {},
            "only one output can have tar=false",
        ),
        ((output("docker", dest="/o"),), {"platforms": TWO}, "type=docker supports only one platform"),
        ((output("tar", dest="/o"),), {"by_digest": True}, "cannot be merged from several nodes"),
        (
            (output("registry", name="a"), output("registry", name="b", compression="zstd")),
            {"by_digest": True},
            "only one output can push",
        ),
        (
            (output("registry", **{"push-by-digest": "true", "name": "h/a,h/b:1"}),),
            {},
            "conflicts with the tag of h/b:1",
        ),
        ((output("registry", **{"push-by-digest": "true"}),), {"tags": ("h/a:1",)}, "conflicts with the tag of h/a:1"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    outputs: tuple[TypedAttributes, ...], build: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make(*outputs, **build)
