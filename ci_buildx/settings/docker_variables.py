"""Variables of buildx 0.38.2 and docker: their table with their effect here, and the docker daemon that they select.

Source: buildx 0.38.2, ``os.Getenv`` and ``os.LookupEnv`` in ``build``, ``commands``, ``builder``, ``policy``, ``util``
and ``docs``; BuildKit 0.34.2, ``util/progress/progressui``, ``cmd/buildctl``; docker/cli 29.8.2, ``cli/command``.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import NO_BUILDER
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import DockerDaemon


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildxVariable:
    """One variable. ``effect`` is for the documentation.

    ``option`` is the name of the build option that it sets. ``refused`` is the fix for a variable that must not be set,
    except to one of the values in ``harmless``; "false" there includes every text that means no.
    """

    name: str
    effect: str
    option: str = ""
    refused: str = ""
    harmless: tuple[str, ...] = ()


VARIABLES = (
    BuildxVariable(
        name="BUILDX_BUILDER", effect="the builder, as `--builder`; `default` selects none", option="builder"
    ),
    BuildxVariable(name="BUILDKIT_PROGRESS", effect="the progress display, as `--progress`", option="progress"),
    BuildxVariable(name="DOCKER_DEFAULT_PLATFORM", effect="the platform, as `--platform`", option="platforms"),
    BuildxVariable(name="BUILDX_NO_DEFAULT_ATTESTATIONS", effect="no provenance unless requested"),
    BuildxVariable(
        name="BUILDX_NO_DEFAULT_OCI_ARTIFACT",
        effect="attestations are image manifests, unless an output sets oci-artifact",
    ),
    BuildxVariable(name="BUILDX_NO_DEFAULT_LOAD", effect="the driver option `default-load` has no effect"),
    BuildxVariable(name="BUILDX_GIT_INFO", effect="`false` leaves the commit out of the provenance"),
    BuildxVariable(name="BUILDX_GIT_LABELS", effect="labels with the commit: `1` or `full`"),
    BuildxVariable(name="BUILDX_GIT_CHECK_DIRTY", effect="uncommitted files mark the revision"),
    BuildxVariable(name="BUILDX_METADATA_WARNINGS", effect="findings of build checks in the metadata file"),
    BuildxVariable(name="BUILDX_SEND_GIT_QUERY_AS_INPUT", effect="the Action's git context as a URL with a query"),
    BuildxVariable(name="EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", effect="a source policy, as JSON"),
    BuildxVariable(name="SOURCE_DATE_EPOCH", effect="the build argument of that name, unless it is set"),
    BuildxVariable(name="BUILDKIT_NO_CLIENT_TOKEN", effect="buildkitd gets registry passwords instead of tokens"),
    BuildxVariable(name="BUILDKIT_TTY_LOG_LINES", effect="lines of a step's output on a terminal"),
    BuildxVariable(
        name="OTEL_EXPORTER_OTLP_ENDPOINT", effect="the collector that gets the build's trace, by OTLP/HTTP in JSON"
    ),
    BuildxVariable(name="TRACEPARENT", effect="the span that the build's trace is below, with `TRACESTATE`"),
    BuildxVariable(name="NO_COLOR", effect="no colours"),
    BuildxVariable(name="AWS_ACCESS_KEY_ID", effect="credentials of `type=s3`, with its secret key and session token"),
    BuildxVariable(name="DOCKER_CONFIG", effect="the folder of docker's configuration: logins, proxies"),
    BuildxVariable(name="DOCKER_AUTH_CONFIG", effect="logins, as JSON"),
    BuildxVariable(name="DOCKER_HOST", effect="the docker daemon for `--load`: `unix://` or `tcp://` without TLS"),
    BuildxVariable(name="DOCKER_TLS_VERIFY", effect="a daemon with TLS is not supported: `--load` is refused"),
    BuildxVariable(
        name="DOCKER_CONTEXT", effect="docker contexts are not read: `--load` is refused unless DOCKER_HOST is also set"
    ),
    BuildxVariable(
        name="BUILDX_METADATA_PROVENANCE",
        effect="provenance in the metadata file: `min` (the default), `max` or `disabled`; set, it is also in the "
        "metadata of CI systems",
    ),
    BuildxVariable(
        name="BUILDX_DEFAULT_POLICY",
        effect="refused; policies in Rego are not evaluated",
        refused="omit it",
        harmless=("false",),
    ),
    BuildxVariable(name="BUILDX_CPU_PROFILE", effect="refused; no profile is written", refused="omit it"),
    BuildxVariable(name="BUILDX_MEM_PROFILE", effect="refused; no profile is written", refused="omit it"),
    BuildxVariable(name="BUILDKIT_COLORS", effect="none: the colours are fixed"),
    BuildxVariable(
        name="BUILDX_CONFIG",
        effect="folder in which each build's context and Dockerfile are recorded, for names in `history`",
    ),
    BuildxVariable(
        name="BUILDKIT_HOST", effect="none: builders are in the cluster, as with buildx's kubernetes driver"
    ),
    BuildxVariable(name="BUILDX_EXPERIMENTAL", effect="none: it enables commands of buildx only"),
    BuildxVariable(name="BUILDX_BAKE_*", effect="for [bake](bake.md)"),
    BuildxVariable(name="BUILDX_DAP_USER_AGENT", effect="none: for `buildx dap`"),
)
"""All variables, except build arguments such as BUILDKIT_SYNTAX, which ``--build-arg`` covers."""


def check_variables(env: Mapping[str, str]) -> None:
    """Raise InputError for a variable that changes buildx's behaviour and is not supported here."""
    for variable in VARIABLES:
        value = env.get(variable.name, "") if variable.refused else ""
        if (
            value
            and value not in variable.harmless
            and not ("false" in variable.harmless and read_boolean(value) is False)
        ):
            message = f"{value!r} is not supported"
            raise InputError(message, source=variable.name, fix=variable.refused)


def read_options(env: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the build options that such variables set: value and variable by the option's name."""
    found = {one.option: (env[one.name], one.name) for one in VARIABLES if one.option and env.get(one.name)}
    if found.get("builder", ("", ""))[0] == NO_BUILDER:
        del found["builder"]
    return found


HOST = "DOCKER_HOST"
CONTEXT = "DOCKER_CONTEXT"
_DEFAULT = Path("/var/run/docker.sock")
_PORT = 2375
_FIX = "use output type=docker,dest=FILE (docker load -i FILE reads it), or push the image"


def find_daemon(env: Mapping[str, str], *, source: str) -> DockerDaemon:
    """Return the daemon of ``DOCKER_HOST`` (a UNIX socket, or TCP without TLS), or the one at docker's default socket.

    Raises InputError if there is none.
    """
    given, context = env.get(HOST, ""), env.get(CONTEXT, "")
    if not given and context not in ("", "default"):
        message = f"docker contexts are not supported, but {CONTEXT} is {context!r}"
        raise InputError(message, source=source, fix=f"set {HOST} to the daemon's address")
    try:
        url = urlsplit(given or f"unix://{_DEFAULT}")
        if url.scheme == "tcp" and url.hostname and not env.get("DOCKER_TLS_VERIFY"):
            return DockerDaemon(host=url.hostname, port=url.port or _PORT)
    except ValueError as error:
        raise InputError(f"{HOST} is not a valid address: {error}", source=source, fix=_FIX) from error
    if url.scheme != "unix":
        raise InputError(
            f"a docker daemon at {given} is not supported: only unix:// and tcp:// without TLS are",
            source=source,
            fix=_FIX,
        )
    path = Path(url.path)
    if not _is_socket(path):
        raise InputError(f"docker daemon not found: {path} is not a socket", source=source, fix=_FIX)
    return DockerDaemon(socket=path)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        return False
