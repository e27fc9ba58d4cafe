"""Files that tell the result to later steps."""

import base64
import errno
import io
import json
from pathlib import Path

import pytest

from ci_buildx.build import result as build_result
from ci_buildx.build.result import BuildResult, make_metadata, write_result_files
from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("sha256:abc", "sha256:abc"),
        ("true", "true"),
        (encoded({"digest": "sha256:1", "size": 3}), {"digest": "sha256:1", "size": 3}),
        (encoded([{"ref": "x"}]), [{"ref": "x"}]),
        (encoded({}), encoded({})),
        (encoded([]), encoded([])),
        (encoded([1]), encoded([1])),
    ],
)
def test_metadata_shows_encoded_objects(value: str, shown: object) -> None:
    assert make_metadata({"key": value}) == {"key": shown}


def test_files_are_written_whole(tmp_path: Path) -> None:
    result = BuildResult(digest="sha256:1", image_id="sha256:2", metadata={"containerimage.digest": "sha256:1"})
    write_result_files(result, metadata_file=tmp_path / "meta.json", iidfile=tmp_path / "iid")
    assert json.loads((tmp_path / "meta.json").read_text()) == {"containerimage.digest": "sha256:1"}
    assert (tmp_path / "iid").read_text() == "sha256:2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iid", "meta.json"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (BuildResult(), "the build succeeded: free"),
        (BuildResult(digest="sha256:1"), "the build succeeded (sha256:1): free"),
        (BuildResult(digest="sha256:1", references=("r/a:1", "r/b:1")), "the build succeeded (r/a:1@sha256:1): free"),
    ],
)
def test_a_path_that_cannot_be_written_is_named_with_the_digest(result: BuildResult, told: str, tmp_path: Path) -> None:
    """By then something has been built: it is no bad input, which exits with 2."""
    missing = tmp_path / "missing"
    with pytest.raises(KubeBuilderError) as caught:
        write_result_files(result, metadata_file=missing / "meta", iidfile=missing / "iid")
    assert caught.value.exit_code == 1
    assert f"--metadata-file: cannot write {missing}/meta: No such file or directory; {told}" in str(caught.value)
    assert [note.partition(":")[0] for note in caught.value.__notes__] == ["--iidfile"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meta.json"
    path.write_text("before")

    class Full(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_partial(place: Path) -> Full:
        return Full(scratch.name_partial(place), "x")

    monkeypatch.setattr(scratch, "open_partial", open_partial)
    with pytest.raises(KubeBuilderError, match="No space left on device"):
        build_result.write_file(path, "after", source="--metadata-file")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("meta.json", "before")]


def test_what_is_no_file_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/dev/null")
    build_result.write_file(tmp_path / "out", "x", source="--iidfile")
    assert (tmp_path / "out").is_symlink()


def test_bytes_that_are_no_characters_are_written_escaped(tmp_path: Path) -> None:
    (tmp_path / "pipe").symlink_to("/dev/null")  # written in place
    for name in ("out", "pipe"):
        build_result.write_file(tmp_path / name, "tag a\udcff\n", source="--metadata-file")
    assert (tmp_path / "out").read_bytes() == b"tag a\\udcff\n"
