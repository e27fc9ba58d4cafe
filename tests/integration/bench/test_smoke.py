"""The bench runs: one round of the lines that need no more than one builder of each side."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent.parent


def test_boot_and_cached_are_measured(cluster_env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "boot,cached", "--json", str(file)],
        cwd=PROJECT,
        env={**os.environ, **cluster_env},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert found["failures"] == {}
    assert set(found["lines"]) == {"boot", "cached"}
    for line in found["lines"].values():
        for comparison in line:
            assert all(min(series["seconds"]) > 0 for series in comparison["series"])
            assert comparison["targets"][0]["ratio"] > 0
