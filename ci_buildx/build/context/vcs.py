"""The commit and remote of a context's checkout, as buildx adds them to provenance and labels.

Source: buildx 0.38.2, ``build/git.go`` and ``util/gitutil/gitutil.go`` (which attributes, which variables), BuildKit
0.34.2, ``util/gitutil/git_cli.go`` (git's environment). BuildKit moves ``vcs:…`` into the provenance
(``solver/llbsolver/provenance/predicate.go``); the image itself changes only by the labels that ``BUILDX_GIT_LABELS``
requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ci_buildx.buildkit.solve_request import list_shared_folders
from ci_buildx.model.login import redact_url
from ci_buildx.runtime.threads import start_thread
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import BuildSettings

Git = Callable[..., str]
"""Runs git with these arguments in the context; returns its output, "" if there is none. Raises nothing."""

_CHECKOUT = ("rev-parse", "--is-inside-work-tree", "--show-toplevel", "HEAD", "--symbolic-full-name", "HEAD")
_ENTRYPOINT = "com.docker.image.source.entrypoint"
_REMOTES = ("origin", "upstream")
_IMAGES = ("image", "registry", "oci", "docker")
_DEADLINE = 3.0
"""Seconds for one call; buildx has no limit, but provenance is not worth delaying a build."""


def start_git_attributes(
    build: BuildSettings, env: Mapping[str, str], *, warn: Callable[[str], None]
) -> Callable[[], dict[str, str]]:
    """Query git in a thread if the context is in a checkout and the result will show the commit.

    Returns a function that waits for the request's attributes. It calls ``warn`` if git reports nothing about an
    existing checkout.
    """
    if isinstance(build.context, str) or not (_is_shown(build, env) and _has_checkout(build.context)):
        return dict
    context = build.context
    asked = start_thread(lambda: read_git_attributes(build, env, git=_make_git(context, env)))

    def wait() -> dict[str, str]:
        asked.done.wait()
        if not asked.take_result():
            warn(f"git tells nothing of this checkout, so the image names no commit; try: git -C {context} status")
        return asked.take_result()

    return wait


def read_git_attributes(build: BuildSettings, env: Mapping[str, str], *, git: Git) -> dict[str, str]:
    """Return the attributes that ``git`` knows; empty if the context is not in a checkout."""
    lines = git(*_CHECKOUT).splitlines()
    if len(lines) < 2 or lines[0] != "true":
        return {}
    root = Path(lines[1])
    revision, branch = lines[2:4] if len(lines) == 4 else ("", "")  # nothing is committed yet
    if revision and read_boolean(env.get("BUILDX_GIT_CHECK_DIRTY", "")) and git("status", "--porcelain", "--ignored"):
        revision += "-dirty"
    found = {"revision": revision, "source": redact_url(_read_remote(git, branch))}
    attrs: dict[str, str] = {}
    if _wants_provenance(env):
        folders = {
            f"localdir:{name}": _make_relative(root, folder.resolve())
            for name, folder in list_shared_folders(build).items()
        }
        attrs |= {f"vcs:{name}": text for name, text in (found | folders).items() if text}
    if _wants_labels(env):
        labels = {f"org.opencontainers.image.{name}": text for name, text in found.items()}
        dockerfile = build.dockerfile and Path(os.path.normpath(build.dockerfile))
        labels[_ENTRYPOINT] = _make_relative(root, dockerfile) if dockerfile else ""
        attrs |= {f"label:{name}": text for name, text in labels.items() if text}
    return attrs


def read_remote(folder: Path, env: Mapping[str, str]) -> str:
    """Return the URL of ``origin`` or ``upstream`` of the checkout that contains ``folder``, "" if there is none."""
    return _read_remote(_make_git(folder, env), "")


def _is_shown(build: BuildSettings, env: Mapping[str, str]) -> bool:
    """Return whether the result will show the attributes."""
    exports_image = build.push or any(output.type in _IMAGES for output in build.outputs)
    return bool(exports_image and (_wants_labels(env) or (build.provenance and _wants_provenance(env))))


def _wants_provenance(env: Mapping[str, str]) -> bool:
    return read_boolean(env.get("BUILDX_GIT_INFO", "")) is not False


def _wants_labels(env: Mapping[str, str]) -> bool:
    wanted = env.get("BUILDX_GIT_LABELS", "")
    return wanted == "full" or read_boolean(wanted) is True


def _has_checkout(context: Path) -> bool:
    from ci_buildx.model.programs import find_checkout

    return find_checkout(context) is not None


def _read_remote(git: Git, branch: str) -> str:
    """Return the URL of the branch's upstream remote, else of ``origin`` or ``upstream``."""
    followed = git("for-each-ref", "--format=%(upstream:remotename)", branch) if branch.startswith("refs/") else ""
    names = dict.fromkeys((followed.strip(), *_REMOTES))
    return next((url for name in names if name and (url := git("remote", "get-url", name).partition("\n")[0])), "")


def _make_relative(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else ""


def _make_git(folder: Path, env: Mapping[str, str]) -> Git:
    from ci_buildx.fsutil.git import Git as Repository

    repository = Repository(folder, env)
    # rev-parse fails at the first name that it cannot find, after printing the results of those before.
    return lambda *arguments: repository.read_partly(*arguments, timeout=_DEADLINE)
