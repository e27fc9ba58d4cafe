"""The runner image's reference in files and pages: always that of ``ci_buildx.RUNNER_IMAGE``."""

from __future__ import annotations

import re

from ci_buildx import RUNNER_IMAGE

_REPOSITORY = RUNNER_IMAGE.partition("@")[0].rpartition(":")[0]
_REFERENCE = re.compile(rf"{re.escape(_REPOSITORY)}(?=[:@])(?::v?[0-9]+(?:\.[0-9]+)*)?(?:@sha256:[0-9a-f]{{64}})?")


def name_runner(text: str) -> str:
    """Replace each reference to the runner image, whatever its tag and digest, by the current one."""
    return _REFERENCE.sub(RUNNER_IMAGE, text)
