import base64
import json
import threading
from pathlib import Path

import pytest

from ci_buildx.model.secret import Secret
from ci_buildx.registry.token_authority import TokenSeeds

FILE = ".token_seed"


def test_a_seed_lasts(tmp_path: Path) -> None:
    seed = TokenSeeds(tmp_path).get("r.io")
    assert len(seed) == 16
    assert TokenSeeds(tmp_path).get("r.io") == seed
    assert TokenSeeds(tmp_path).get("other.io") != seed
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, f"{FILE}.lock"]


def test_the_file_is_the_one_of_buildx(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"sixteen bytes...").decode()
    (tmp_path / FILE).write_text(json.dumps({"r.io": {"Seed": encoded}}, indent=2))
    seeds = TokenSeeds(tmp_path)
    assert seeds.get("r.io") == Secret(b"sixteen bytes...")
    fresh = seeds.get("new.io")
    document = json.loads((tmp_path / FILE).read_bytes())
    assert document == {"r.io": {"Seed": encoded}, "new.io": {"Seed": base64.b64encode(fresh.reveal()).decode()}}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"r.io": 1}', '{"r.io": {}}', '{"r.io": {"Seed": "%"}}'])
def test_a_file_that_is_not_whole_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    seed = TokenSeeds(tmp_path).get("r.io")
    assert TokenSeeds(tmp_path).get("r.io") == seed


def test_without_a_folder_a_seed_lasts_for_the_process(tmp_path: Path) -> None:
    seeds = TokenSeeds(tmp_path / "none")
    assert seeds.get("r.io") == seeds.get("r.io")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    seeds = TokenSeeds(tmp_path)
    assert seeds.get("r.io") == seeds.get("r.io")
    assert (tmp_path / FILE).is_dir()


def test_processes_agree(tmp_path: Path) -> None:
    found: list[Secret] = []
    threads = [threading.Thread(target=lambda: found.append(TokenSeeds(tmp_path).get("r.io"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
