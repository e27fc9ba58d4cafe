import json
import threading
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import KubeBuilderError
from ci_buildx.session import oci_layout
from ci_buildx.session.oci_layout import LayoutName

ONE: dict[str, Any] = {"mediaType": "m", "digest": "sha256:1", "size": 1}
TWO: dict[str, Any] = {"mediaType": "m", "digest": "sha256:2", "size": 2, "annotations": {"own": "kept"}}


def index(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "index.json").read_bytes())
    return read


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("docker.io/library/alpine:3.20", "3.20"),
        ("localhost:5000/a/b:latest", "latest"),
        ("host/a@sha256:abc", "@sha256:abc"),
        ("host/a:1@sha256:abc", "1@sha256:abc"),
        ("host/a", "host/a"),
        ("plain", "plain"),
    ],
)
def test_an_image_is_known_by_its_tag(image: str, tag: str) -> None:
    assert LayoutName.from_image(image) == LayoutName(tag=tag, image=image)


def test_a_layout(tmp_path: Path) -> None:
    oci_layout.put_entry(tmp_path, ONE, [LayoutName(tag="latest")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "oci-layout"]
    assert (tmp_path / "oci-layout").read_text() == '{"imageLayoutVersion":"1.0.0"}'
    assert index(tmp_path) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**ONE, "annotations": {"org.opencontainers.image.ref.name": "latest"}}],
    }


def test_an_entry_takes_the_place_of_its_name_only(tmp_path: Path) -> None:
    image = LayoutName.from_image("docker.io/library/a:latest")
    oci_layout.put_entry(tmp_path, ONE, [LayoutName(tag="latest"), image, LayoutName(tag="other")])
    oci_layout.put_entry(tmp_path, TWO, [LayoutName(tag="latest")])
    assert oci_layout.find_digest(tmp_path, "latest") == "sha256:1"
    oci_layout.put_entry(tmp_path, TWO, [image])
    assert [entry["digest"] for entry in index(tmp_path)["manifests"]] == ["sha256:1", "sha256:2", "sha256:2"]
    assert index(tmp_path)["manifests"][1]["annotations"]["own"] == "kept"
    assert oci_layout.find_digest(tmp_path, "docker.io/library/a:latest") == "sha256:2"


def test_what_others_wrote_is_kept(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"schemaVersion": 2, "manifests": null, "annotations": {"a": "b"}}')
    oci_layout.put_entry(tmp_path, ONE, [LayoutName(tag="t")])
    assert index(tmp_path)["annotations"] == {"a": "b"}


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert oci_layout.find_digest(tmp_path / "none", "latest") == ""
    (tmp_path / "index.json").write_text('{"manifests": [{"annotations": null}, {}]}')
    assert oci_layout.find_digest(tmp_path, "latest") == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"manifests": {"a": 1}}', '{"manifests": [1]}', "[" * 100_000])
def test_a_malformed_index_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(KubeBuilderError, match=r"index\.json is malformed; remove its folder or name another"):
        oci_layout.find_digest(tmp_path, "latest")


def test_an_index_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "index.json").mkdir()
    with pytest.raises(KubeBuilderError, match=r"cannot read .*index\.json: Is a directory"):
        oci_layout.put_entry(tmp_path, ONE, [LayoutName(tag="t")])
    with pytest.raises(KubeBuilderError, match=r"cannot write .*index\.json: No such file"):
        oci_layout.put_entry(tmp_path / "none", ONE, [LayoutName(tag="t")])


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    def put(number: int) -> None:
        oci_layout.put_entry(tmp_path, ONE, [LayoutName(tag=str(number))])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index(tmp_path)["manifests"]) == 8


def test_no_lock_is_made_where_a_link_leads(tmp_path: Path) -> None:
    """The author of a checkout chooses its links."""
    layout, outside = tmp_path / "layout", tmp_path / "outside"
    layout.mkdir()
    (layout / "index.json.lock").symlink_to(outside)
    with pytest.raises(KubeBuilderError, match=r"cannot write .*index\.json"):
        oci_layout.put_entry(layout, ONE, [LayoutName(tag="t")])
    assert not outside.exists()
