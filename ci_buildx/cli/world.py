"""What a verb sees of the process around it, so that tests can give it another one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Environment, absolute working directory and streams."""

    env: Mapping[str, str]
    cwd: Path
    stdout: TextIO
    stderr: TextIO


def of_process() -> World:
    """The real one."""
    return World(env=os.environ, cwd=Path.cwd(), stdout=sys.stdout, stderr=sys.stderr)
