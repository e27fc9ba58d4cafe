"""Definitions in a git repository, which the builder fetches: a build copies the files out of it.

docker buildx 0.38.2 reads them in the builder, too (``bake/remote.go``), so that its network and logins count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_buildx.bake.definitions import DEFAULT_FILES, LARGEST, DefinitionFile
from ci_buildx.bake.jobs import SharedOptions
from ci_buildx.bake.paths import list_git_secrets
from ci_buildx.build.run import run_build
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.model.record import dataclass
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.contexts import is_git, is_git_by_ssh
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.syntax import join_fields, read_boolean

if TYPE_CHECKING:
    from ci_buildx.builder.builder import BuilderLocation
    from ci_buildx.builder.identity import JobIdentity
    from ci_buildx.settings.values import Settings

_AGENT = "BUILDX_BAKE_GIT_SSH"
_ADVICE = "BUILDX_BAKE_GIT_ADVICE"
_SOURCE = "definition"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionBuild:
    """How a CI job runs the build that copies a definition: as whom, and who is told of its builder before it exists.

    ``fit`` changes the settings for the job's log; ``hidden`` are texts to mask.
    """

    identity: JobIdentity
    announce: Callable[[BuilderLocation], None]
    fit: Callable[[Settings], Settings]
    hidden: Sequence[str] = ()


def read_remote_files(
    url: str,
    names: Sequence[str],
    shared: SharedOptions,
    display_stream: TextIO,
    build: DefinitionBuild | None = None,
) -> list[DefinitionFile]:
    """Return the files of a repository; without names, those of the default files that it has.

    ``build`` is set in CI jobs. Raises InputError for other URLs, SolveError if a file does not exist.
    """
    if not is_git(url):
        fix = "name a git repository, or download the definition and name it with --file"
        raise InputError("only a git repository can hold a definition", source=url, fix=fix)
    with scratch.open_folder() as folder:
        (folder / "context").mkdir()
        (folder / "context" / "Dockerfile").write_text(write_dockerfile(names), encoding="utf-8")
        values = {
            **shared.values,
            "context": str(folder / "context"),
            "build-contexts": [f"{_SOURCE}={url}"],
            "outputs": [join_fields(("type=local", f"dest={folder / 'out'}"))],
            "provenance": "false",
            "build-args": ["BUILDKIT_GIT_ADVICE=1"] if read_boolean(shared.env.get(_ADVICE, "")) else [],
            **_find_logins(url, shared.env),
        }
        settings = make_settings(values, {**shared.sources, "secrets": "--secret"}, shared.env, shared.cwd)
        if build is None:
            run_build(settings, env=shared.env, display_stream=display_stream)
        else:
            run_build(
                build.fit(settings),
                env=shared.env,
                display_stream=display_stream,
                identity=build.identity,
                announce=build.announce,
                hidden=build.hidden,
            )
        return list(_read_files(folder / "out", names))


def _find_logins(url: str, env: Mapping[str, str]) -> dict[str, Value]:
    """Return the options for the logins that are only for definitions."""
    secrets = list(list_git_secrets(url, url, env))
    found: dict[str, Value] = {"secrets": secrets} if secrets else {}
    if is_git_by_ssh(url):
        paths = env.get(_AGENT, "")
        found["ssh"] = [f"default={paths}" if paths else "default"]
    return found


def write_dockerfile(names: Sequence[str]) -> str:
    """Return a Dockerfile that copies each file to a folder of its number; default files may be missing."""
    lines = ["FROM scratch"]
    for number, name in enumerate(names or DEFAULT_FILES):
        path = re.sub(r"([*?\[\]\\])", r"\\\1", name)
        wanted = path if names else f"{path[:-1]}[{path[-1]}]"
        lines.append(f"COPY --from={_SOURCE} {json.dumps([wanted, f'/{number}/'])}")
    return "\n".join(lines) + "\n"


def _read_files(folder: Path, names: Sequence[str]) -> list[DefinitionFile]:
    found = []
    for number, name in enumerate(names or DEFAULT_FILES):
        for path in sorted((folder / str(number)).glob("*")):
            if not path.is_file() or path.is_symlink():
                raise InputError(f"{name} is not a file", source="--file")
            with path.open("rb") as stream:
                data = stream.read(LARGEST + 1)
            if len(data) > LARGEST:
                raise InputError(f"{name} has more than {LARGEST} bytes", source="--file")
            try:
                found.append(DefinitionFile(name=name, text=data.decode()))
            except UnicodeDecodeError as error:
                raise InputError(f"{name} is not UTF-8 text: {error.reason}", source="--file") from None
    return found
