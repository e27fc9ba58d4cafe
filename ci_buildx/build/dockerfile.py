"""What the text of a Dockerfile says about its build."""

from __future__ import annotations

from ci_buildx.build.login_hosts import LARGEST_DOCKERFILE, read_content
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings.values import BuildSettings

_RUN = compile_lazily(r"(?im)^[ \t]*run\b")
"""A RUN instruction; one inside of a heredoc counts, too."""


def may_run_steps(build: BuildSettings) -> bool:
    """Return whether a build may run steps: its Dockerfile has a RUN or is long, or only BuildKit sees it."""
    text = read_content(build)
    return text is None or len(text.encode()) >= LARGEST_DOCKERFILE or bool(_RUN.search(text))
