"""The local files of builds below ``BUILDX_CONFIG``: context and Dockerfile by build.

``history``, docker buildx and Docker Desktop read them to show what a record in a builder's history was built from.
Source: buildx 0.38.2, ``localstate/localstate.go``, ``build/localstate.go``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_buildx.build.result import write_file
from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import redact_url
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.values import BuildSettings

if TYPE_CHECKING:
    from ci_buildx.build.build_run import BuildRun

FOLDER = "BUILDX_CONFIG"
_DEFAULT_TARGET = "default"
_LARGEST = 1 << 16
"""Maximum bytes of a file that is read: two paths and two names."""
_PART = compile_lazily(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def save_states(folder: str, refs: Sequence[str], site: BuildRun) -> None:
    """Write what each of the builds was made of; ``refs`` are ``BUILDER/NODE/ID``. A failure is only a warning."""
    state = describe_sources(site.settings.build, site.label)
    try:
        place = refuse_escape(Path(folder).absolute(), source=FOLDER, env=site.env) / "refs"
        for ref in refs:
            path = place / ref
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(path, json.dumps(state), source=FOLDER)
    except (OSError, KubeBuilderError) as failure:
        site.display.warn(f"the build's sources are not recorded in {FOLDER}: {failure}")


def describe_sources(build: BuildSettings, target: str) -> dict[str, str]:
    """Return the context and the Dockerfile: absolute paths, or URLs without logins if BuildKit fetches them."""
    return {
        "Target": target or _DEFAULT_TARGET,
        "LocalPath": str(build.context.absolute()) if isinstance(build.context, Path) else redact_url(build.context),
        "DockerfilePath": redact_url(build.dockerfile_origin) if build.dockerfile_origin else _find_dockerfile(build),
    }


def _find_dockerfile(build: BuildSettings) -> str:
    if build.dockerfile is None or not isinstance(build.context, Path):
        return build.dockerfile_name
    path = build.dockerfile.absolute()
    # The file of an inline Dockerfile is gone after the build. Its record is that of one in the context, as in buildx.
    is_inline = any(part.startswith(scratch.PREFIX) for part in path.parts)
    return str(build.context.absolute() / path.name if is_inline else path)


def read_state(folder: str, ref: str) -> dict[str, str]:
    """Return what :func:`save_states` or docker buildx wrote for a build; {} if it wrote nothing that can be read.

    Any client of the builder can choose the reference of a record, so it must not lead out of the folder.
    """
    parts = ref.split("/")
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        return {}
    try:
        # A pipe must not stop the program.
        descriptor = os.open(Path(folder, "refs", *parts), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            found = parse_json(stream.read(_LARGEST))
    except (OSError, ValueError):
        return {}
    return {key: text for key, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}
