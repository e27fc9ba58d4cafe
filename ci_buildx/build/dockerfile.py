"""What the text of a Dockerfile says about its build."""

from __future__ import annotations

from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings.values import BuildSettings

_RUN = compile_lazily(r"(?im)^[ \t]*run\b")
"""A RUN instruction; one inside of a heredoc counts, too."""


def may_run_steps(build: BuildSettings) -> bool:
    """Return whether a build may run steps: its Dockerfile has a RUN, or only BuildKit sees it."""
    try:
        return build.dockerfile is None or bool(_RUN.search(build.dockerfile.read_text(errors="replace")))
    except OSError:
        return True
