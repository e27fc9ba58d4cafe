"""Starts the product of this checkout, in an interpreter that ignores PYTHONPATH and the working directory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ci_buildx.cli.main import run

run()
