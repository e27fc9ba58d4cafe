"""Detection of a Rego policy in a remote context, before the build starts.

Only BuildKit sees a remote context, so a separate build that only copies extracts one file of it. BuildKit caches what
it fetches for that, so the actual build does not fetch it again. docker buildx 0.38.2 looks for ``Dockerfile.rego``
beside the Dockerfile.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.connect import NodeConnection
from ci_buildx.build.solve import solve_nodes
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.errors import SolveError
from ci_buildx.fsutil import scratch
from ci_buildx.model.record import replace
from ci_buildx.session.auth import AuthService
from ci_buildx.settings.policies import NOT_ENFORCED, suggest_instead
from ci_buildx.settings.values import BuildSettings, TypedAttributes

SUFFIX = ".rego"
_SINGLE = "failed to read dockerfile: open context:"
"""BuildKit 0.34.2, ``frontend/dockerui``: a context that is not an archive is the Dockerfile, called ``context``."""


_UNREADABLE = "failed to calculate checksum of ref"
"""BuildKit 0.34.2, ``solver/llbsolver/ops/opsutils/contenthash.go``: the file that a COPY names cannot be read."""


def needs_check(build: BuildSettings) -> bool:
    """Return whether the Dockerfile is in a remote context and policies are not disabled."""
    return isinstance(build.context, str) and build.dockerfile is None and not build.policy_disabled


def check_remote_policy(site: BuildRun, boot: Boot, connections: list[NodeConnection], auth: AuthService) -> None:
    """Raise SolveError if the build's remote context holds a policy or cannot be fetched."""
    build = site.settings.build
    name = f"{build.dockerfile_name}{SUFFIX}"
    with scratch.open_folder() as folder:
        dockerfile, out = folder / "dockerfile" / "Dockerfile", folder / "out"
        dockerfile.parent.mkdir()
        dockerfile.write_text(make_dockerfile(name), encoding="utf-8")
        asked = BuildSettings(
            context=build.context,
            archive=build.archive,
            dockerfile=dockerfile,
            outputs=(TypedAttributes(type="local", attrs=(("dest", str(out)),)),),
            provenance="",
            secrets=build.secrets,
            ssh=build.ssh,
            source_policy=build.source_policy,
        )
        settings = replace(site.settings, build=asked)
        narrowed = replace(site, settings=settings, clocks=None, checkout=dict, counted=False)
        try:
            solve_nodes(narrowed, boot, connections[:1], auth)
        except SolveError as failure:
            if _SINGLE in failure.message:  # The URL is that of a single Dockerfile, so there are no other files.
                return
            raise explain_failure(failure, name) from failure
        if os.path.lexists(out / Path(name).name):
            raise SolveError(f"the context contains {name}, {NOT_ENFORCED}", fix=suggest_instead())


def explain_failure(failure: SolveError, name: str) -> SolveError:
    """Return the failure of the separate build in our words if a policy is there but cannot be read.

    The pattern matches what is there, so BuildKit then fails only for a link that leads nowhere or in a circle.
    """
    if _UNREADABLE not in failure.message:
        return failure
    return SolveError(
        f"the context contains {name}, a broken link; next to a Dockerfile it is {NOT_ENFORCED}",
        fix="remove it, or build without it: --policy disabled=true",
    )


def make_dockerfile(name: str) -> str:
    """Return a Dockerfile that copies the file ``name`` of the context, and maybe others, if it exists.

    COPY fails for a missing name but not for a pattern without matches. So the last letter is a pattern that matches
    itself; characters with a meaning in patterns match any character.
    """
    plain = re.sub(r"[*?\\[\]]", "?", name[:-1])
    return f"FROM scratch\nCOPY {json.dumps([f'{plain}[{name[-1]}]', '/'])}\n"
