"""Outputs and caches are what their attributes say; what BuildKit would pass over is refused by its name."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings import assembly
from ci_buildx.settings import attribute_table as table
from ci_buildx.settings.attribute_table import AttributeKind, OutputAttribute
from ci_buildx.settings.attributes import CACHE_TYPES, OUTPUT_TYPES, parse_cache_from, parse_cache_to, parse_outputs

CWD = Path("/work-of-a-test")
NEEDED = {"local": "dest=out", "registry": "ref=h/a", "oci": "dest=o", "docker": "dest=d", "tar": "dest=t"}
TAKEN = {
    AttributeKind.TEXT: "x",
    AttributeKind.NAMES: "h/a:1",
    AttributeKind.BOOLEAN: "false",
    AttributeKind.FLAG: "",
    AttributeKind.NUMBER: "5",
    AttributeKind.POSITIVE: "5",
    AttributeKind.DURATION: "10m",
}
WRONG = {
    AttributeKind.NAMES: "h/A",
    AttributeKind.BOOLEAN: "yes",
    AttributeKind.FLAG: "on",
    AttributeKind.NUMBER: "x",
    AttributeKind.POSITIVE: "0",
    AttributeKind.DURATION: "x",
}


def value(attribute: OutputAttribute) -> str:
    return attribute.choices[-1] if attribute.choices else TAKEN[attribute.kind]


def refusal(output: str = "", *, export: str = "", read: str = "") -> str:
    with pytest.raises(InputError) as caught:
        if output:
            parse_outputs([output], source="--output", cwd=CWD, env={})
        elif export:
            parse_cache_to([export], source="--cache-to", cwd=CWD, env={})
        else:
            parse_cache_from([read], source="--cache-from", cwd=CWD, env={})
    return str(caught.value)


def test_the_tables_know_every_type() -> None:
    assert set(table.OUTPUTS) == set(OUTPUT_TYPES)
    assert set(table.CACHE_EXPORTS) == set(table.CACHE_IMPORTS) == set(CACHE_TYPES)


@pytest.mark.parametrize("type_", OUTPUT_TYPES)
def test_every_attribute_of_an_output_is_taken_or_refused(type_: str) -> None:
    for attribute in table.OUTPUTS[type_]:
        name = attribute.name.replace("*", "org.example")
        needed = NEEDED.get(type_, "") if name != "dest" and type_ != "registry" else ""
        text = ",".join(filter(None, (f"type={type_}", needed, f"{name}={value(attribute)}")))
        if attribute.refused:
            assert f"{name} is not supported; {attribute.refused}" in refusal(text)
        else:
            parse_outputs([text], source="x", cwd=CWD, env={})
            if attribute.kind in WRONG:
                refusal(text.removesuffix(value(attribute)) + WRONG[attribute.kind])
            if attribute.choices:
                assert " is not " in refusal(text.removesuffix(value(attribute)) + "x")


@pytest.mark.parametrize("type_", CACHE_TYPES)
def test_every_attribute_of_a_cache_is_taken_or_refused(type_: str) -> None:
    for attribute in table.CACHE_EXPORTS[type_]:
        needed = NEEDED.get(type_, "") if attribute.name not in ("ref", "dest") else ""
        given = "h/a" if attribute.name == "ref" else value(attribute)
        text = ",".join(filter(None, (f"type={type_}", needed, f"{attribute.name}={given}")))
        if attribute.refused:
            assert f"{attribute.name} is not supported" in refusal(export=text)
        else:
            parse_cache_to([text], source="x", cwd=CWD, env={})
            parse_cache_from([f"{text},src=c" if type_ == "local" else text], source="x", cwd=CWD, env={})
            if attribute.choices:
                assert " is not " in refusal(export=text.removesuffix(value(attribute)) + "wrong")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type=image,nmae=h/a", "unknown attribute 'nmae' of output type=image; did you mean 'name'?"),
        ("type=image,buildinfo=true", "unknown attribute 'buildinfo' of output type=image"),
        ("type=local,dest=o,mode=mirror", "mode=mirror is not copy or delete"),
        ("type=tar,dest=o,mode=delete", "unknown attribute 'mode' of output type=tar"),
        ("type=image,compression=xz", "compression=xz is not uncompressed or gzip or estargz or zstd"),
        ("type=image,push=yes,name=h/a", "push=yes is not true or false"),
        ("type=image,oci-mediatypes=,name=h/a", "oci-mediatypes= is not true or false"),
        ('type=image,"name=h/a:1,h/b@sha256:0"', "invalid tag 'h/b@sha256:0'"),
        ("type=image,compression=estargz,oci-mediatypes=false", "compression=estargz requires OCI media types"),
        ("type=image,oci-artifact=true,oci-mediatypes=0", "oci-artifact=true requires OCI media types"),
        ("type=docker,context=other", "output type=docker: context is not supported; set DOCKER_HOST"),
        ("type=cacheonly,name=a", "unknown attribute 'name' of output type=cacheonly; omit it"),
    ],
)
def test_refused_outputs(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type=registry,ref=h/a,mode=mx", "mode=mx is not min or max"),
        ("type=registry,ref=h/a,scope=x", "unknown attribute 'scope' of cache type=registry"),
        (
            "type=registry,ref=h/a,image-manifest=true,oci-mediatypes=false",
            "image-manifest=true requires OCI media types",
        ),
        ("type=gha,compression=zstd", "unknown attribute 'compression' of cache type=gha"),
        ("type=inline,mode=max", "mode=max is not min"),
        ("type=local,dest=c,reset=true", "reset is not supported; remove the folder instead"),
        ("type=s3,bucket=b,retry_max_attempts=0", "retry_max_attempts=0 is not a whole number above zero"),
        ("type=gha,timeout=10", "timeout=10 is not a time such as 10m"),
    ],
)
def test_refused_caches(text: str, said: str) -> None:
    assert said in refusal(export=text)


def test_a_cache_that_is_read_may_have_what_belongs_to_its_export() -> None:
    (cache,) = parse_cache_from(["type=gha,mode=max,scope=app"], source="x", cwd=CWD, env={})
    assert dict(cache.attrs) == {"mode": "max", "scope": "app"}
    assert "unknown attribute 'mdoe'" in refusal(read="type=gha,mdoe=max")


def test_annotations_are_attributes() -> None:
    texts = [
        "annotation.k=v",
        "annotation-index.k=v",
        "annotation-manifest[linux/amd64].k=v",
        "annotation-manifest-descriptor.k=v",
    ]
    parse_outputs([f"type=image,{','.join(texts)}"], source="x", cwd=CWD, env={})
    assert "unknown attribute 'annotations.k'" in refusal("type=image,annotations.k=v")


def test_only_folders_inside_are_cleared(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "out").mkdir(parents=True)
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(inside)

    def parse(dest: str, cwd: Path = inside, *, may_delete: bool = False) -> str:
        text = f"type=local,dest={dest},mode=Delete "
        (found,) = parse_outputs([text], source="--output", cwd=cwd, env={}, may_delete=may_delete)
        assert found.get("mode") == "delete"
        return found.get("dest")

    assert parse("out") == parse("out/../out") == parse(str(inside / "out")) == str(inside / "out")
    assert parse("new/folder") == str(inside / "new/folder")
    assert parse("out", tmp_path / "alias") == str(inside / "out")
    for dest in (".", "..", "../outside", str(outside), "link", "link/below", "out/..", "/"):
        with pytest.raises(InputError, match=r"add --allow=buildx\.local\.delete"):
            parse(dest)
        parse(dest, may_delete=True)
    assert parse("link", may_delete=True) == str(outside), "a link is where it leads, whatever becomes of it"


def cleared(
    cwd: Path, *outputs: str, allow: bool = False, values: Mapping[str, assembly.Value] = MappingProxyType({})
) -> None:
    given: dict[str, assembly.Value] = {"context": ".", "outputs": list(outputs), **values}
    if allow:
        given["allow"] = ["buildx.local.delete"]
    assembly.make_settings(given, {"outputs": "--output"}, {}, cwd)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with Dockerfiles on three levels."""
    for folder in (tmp_path, tmp_path / "out", tmp_path / "out/app"):
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").touch()
    return tmp_path


@pytest.mark.parametrize(
    "other",
    ["type=oci,dest=out/image.tar", "type=local,dest=out/sub", "type=local,dest=out,mode=delete", "type=local,dest=."],
)
def test_what_another_output_writes_is_not_cleared(project: Path, other: str) -> None:
    with pytest.raises(InputError, match=r"--output: mode=delete in .*out would delete the output in"):
        cleared(project, "type=local,dest=out,mode=delete", other)


def test_a_cache_is_not_cleared(project: Path) -> None:
    with pytest.raises(
        InputError, match=r"would delete the output in .*/out/cache; choose another folder for one of them"
    ):
        cleared(project, "type=local,dest=out,mode=delete", values={"cache-to": ["type=local,dest=out/cache"]})


def test_what_is_beside_is_no_fault(project: Path) -> None:
    elsewhere = ("type=oci,dest=out.tar", "type=tar,dest=-", "type=docker,dest=d.tar", "type=local,dest=outer")
    cleared(project, "type=local,dest=out,mode=delete", *elsewhere, values={"cache-to": ["type=local,dest=cache"]})


@pytest.mark.parametrize(
    "values",
    [{"context": "out"}, {"context": "out/app"}, {"file": "out/app/Dockerfile"}, {"build-contexts": ["x=out/app"]}],
)
def test_what_a_build_is_made_from_is_cleared_only_if_that_is_allowed(
    project: Path, values: dict[str, assembly.Value]
) -> None:
    with pytest.raises(InputError, match=r"which is an input of the build; .* --allow=buildx"):
        cleared(project, "type=local,dest=out,mode=delete", values=values)
    cleared(project, "type=local,dest=out,mode=delete", allow=True, values=values)
