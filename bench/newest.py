"""The newest results of a kind in bench/results."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def find_newest(kind: str) -> Path:
    """Return the newest result of a kind. Raises FileNotFoundError."""
    found = sorted(RESULTS.glob(f"{kind}-*.json"))
    if not found:
        raise FileNotFoundError(f"no {kind}-*.json in {RESULTS}")
    return found[-1]
