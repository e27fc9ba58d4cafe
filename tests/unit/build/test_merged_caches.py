"""Caches that several nodes wrote into one folder, and what comes of a merge that fails."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ci_buildx.build.merged_caches import merge_caches
from ci_buildx.buildkit import remote_cache
from ci_buildx.errors import KubeBuilderError
from ci_buildx.registry.content import compute_digest
from ci_buildx.session import oci_layout
from ci_buildx.session.oci_layout import OciLayout
from ci_buildx.settings.values import TypedAttributes


def write(layout: OciLayout, content: bytes) -> str:
    with layout.ingest("") as blob:
        blob.write(content)
        blob.commit(total=0, expected="")
    return compute_digest(content)


def export(folder: Path, *blobs: str, size: int = 0) -> dict[str, str]:
    """A cache that a node has written; its response."""
    layout = OciLayout(folder, writable=True)
    layers = [{"blob": blob, "parent": -1, "annotations": {"mediaType": "m" * size}} for blob in blobs]
    config = json.dumps({"layers": layers, "records": []}).encode()
    entry = {"mediaType": remote_cache.MEDIA_TYPE, "digest": write(layout, config), "size": len(config)}
    listed = [{"mediaType": "l", "digest": blob, "size": 1} for blob in blobs]
    manifest = json.dumps({"mediaType": "i", "config": entry, "layers": listed}).encode()
    return {"cache.manifest": json.dumps({"mediaType": "i", "digest": write(layout, manifest), "size": len(manifest)})}


def merge(*responses: dict[str, str], **attrs: str) -> list[str]:
    """Merge what nodes have answered; the warnings."""
    warnings: list[str] = []
    cache = TypedAttributes(type="local", attrs=tuple(attrs.items()))
    site = SimpleNamespace(
        settings=SimpleNamespace(build=SimpleNamespace(cache_to=(cache,))),
        display=SimpleNamespace(warn=warnings.append, phase=nullcontext),
    )
    solved = [SimpleNamespace(response=response) for response in responses]
    none = cast("Any", None)
    told = merge_caches(cast("Any", site), none, cast("Any", solved), none)
    if told:
        folder = Path(attrs["dest"])
        named = oci_layout.find_digest(folder, attrs.get("tag", "latest"))
        assert json.loads(told["cache.manifest"])["digest"] == named
    return warnings


def layers(folder: Path, tag: str = "latest") -> list[str]:
    """Those of the cache that a tag names."""
    layout = OciLayout(folder)
    with layout.open(oci_layout.find_digest(folder, tag)) as stream:
        manifest = json.loads(stream.read())
    with layout.open(manifest["config"]["digest"]) as stream:
        config = json.loads(stream.read())
    listed: list[str] = [layer["digest"] for layer in manifest["layers"]]
    assert [layer["blob"] for layer in config["layers"]] == listed
    return listed


def test_a_folder_has_the_caches_of_all_nodes(tmp_path: Path) -> None:
    assert merge(export(tmp_path, "both", "one"), export(tmp_path, "both", "two"), dest=str(tmp_path)) == []
    assert layers(tmp_path) == ["both", "one", "two"]
    merge(export(tmp_path, "three"), {}, dest=str(tmp_path), tag="other")
    assert layers(tmp_path, "other") == ["three"]


def test_nodes_that_ran_nothing_leave_the_folder_as_it_is(tmp_path: Path) -> None:
    assert merge({}, {}, dest=str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_more_than_buildkit_reads_is_said(tmp_path: Path) -> None:
    answers = [export(tmp_path, blob, size=600_000) for blob in ("one", "two")]
    (warning,) = merge(*answers, dest=str(tmp_path))
    assert "exceed BuildKit's limit" in warning
    assert layers(tmp_path) == ["one"]


def test_a_cache_that_cannot_be_merged_fails_unless_errors_are_ignored(tmp_path: Path) -> None:
    layout = OciLayout(tmp_path, writable=True)
    answers = [
        {"cache.manifest": json.dumps({"digest": write(layout, text), "mediaType": "i", "size": 2})}
        for text in (b"{}", b"{ }")
    ]
    with pytest.raises(KubeBuilderError, match=r"the caches in .* cannot be merged: not a cache"):
        merge(*answers, dest=str(tmp_path))
    (warning,) = merge(*answers, **{"dest": str(tmp_path), "ignore-error": "true"})
    assert warning.startswith("the cache is not written: ")


@pytest.mark.parametrize("text", [b"[]", b"5", b'{"config": 1}', b'{"manifests": [{"mediaType": "x"}]}'])
def test_a_manifest_that_is_none_is_no_crash(tmp_path: Path, text: bytes) -> None:
    layout = OciLayout(tmp_path, writable=True)
    answers = [{"cache.manifest": json.dumps({"digest": write(layout, text + end)})} for end in (b"", b" ")]
    with pytest.raises(KubeBuilderError, match="cannot be merged"):
        merge(*answers, dest=str(tmp_path))


@pytest.mark.parametrize("answer", ["5", "{}", '{"digest": "../../etc"}', "{"])
def test_an_answer_that_names_nothing_is_no_crash(tmp_path: Path, answer: str) -> None:
    with pytest.raises(KubeBuilderError):
        merge({"cache.manifest": answer}, dest=str(tmp_path))
