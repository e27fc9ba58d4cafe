"""Files that tell the result to later steps."""

import base64
import json
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.job.result import BuildResult, metadata_from, write_files


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
    assert metadata_from({"key": value}) == {"key": shown}


def test_files_are_written_whole(tmp_path: Path) -> None:
    result = BuildResult(digest="sha256:1", image_id="sha256:2", metadata={"containerimage.digest": "sha256:1"})
    write_files(result, metadata_file=tmp_path / "meta.json", iidfile=tmp_path / "iid")
    assert json.loads((tmp_path / "meta.json").read_text()) == {"containerimage.digest": "sha256:1"}
    assert (tmp_path / "iid").read_text() == "sha256:2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iid", "meta.json"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--iidfile: cannot write .*missing/iid: No such file"):
        write_files(BuildResult(), metadata_file=None, iidfile=tmp_path / "missing" / "iid")
