"""Makes the settings of a build from its provenance and from what the user gives again.

No recorded text passes through a parser of options: those read files, variables and standard input of this machine.
Each recorded value that a replay uses is put into its field, and everything else that is recorded is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, replace
from ci_buildx.replay.checks import ReplayMode, check_predicate, find_context, list_contexts
from ci_buildx.replay.pins import make_pin_policy
from ci_buildx.replay.predicate import DOCKERFILE_FRONTEND, BuildPredicate
from ci_buildx.replay.subject import SOURCE, ReplaySubject
from ci_buildx.settings import assembly
from ci_buildx.settings.contexts import DOCKERFILE
from ci_buildx.settings.platforms import read_platform
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.secrets import GIT_SECRETS
from ci_buildx.settings.values import BuildSettings, NamedContext, SandboxSettings, Settings

_NETWORKS = ("", "default", "none")
_ARGUMENT, _LABEL = "build-arg:", "label:"
_SYNTAX = ("source", "cmdline")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """A subject with its provenance, and how it is to be built again. ``network`` is "" for the recorded mode."""

    subject: ReplaySubject
    predicate: BuildPredicate
    mode: ReplayMode = ReplayMode.MATERIALS
    network: str = ""


def make_settings(
    request: ReplayRequest, values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path
) -> Settings:
    """Check the request and return the build's settings; ``values`` are the user's options.

    The token of git in ``env`` is not sent, because the provenance names the host: it has to be a ``--secret``. Raises
    InputError.
    """
    predicate = request.predicate
    network = choose_network(request.network, predicate.attributes.get("force-network-mode", ""))
    context = find_context(predicate)
    # The text of a stranger's platform could be a list.
    named = request.subject.platform and read_platform(str(request.subject.platform), source=SOURCE)
    given: dict[str, Value] = {
        **values,
        # The recorded context replaces this one.
        "context": "https://replay.invalid/context.git",
        "provenance": "false",
        "sbom": "false",
        "platforms": [str(named)] if named else [],
    }
    without_token = {name: text for name, text in env.items() if name not in GIT_SECRETS}
    settings = assembly.make_settings(given, sources, without_token, cwd)
    build = settings.build
    _check_outputs(build)
    check_predicate(
        predicate, request.mode, secrets=[one.id for one in build.secrets], ssh=[one.id for one in build.ssh]
    )
    policy = build.source_policy
    if request.mode is ReplayMode.MATERIALS:
        policy = make_pin_policy(predicate, policy)
    attributes = predicate.attributes
    build = replace(
        build,
        context=context,
        dockerfile_name=predicate.path or attributes.get("filename") or DOCKERFILE,
        contexts=tuple(NamedContext(name=name, location=text) for name, text in list_contexts(predicate)),
        build_args=select_prefixed(predicate, _ARGUMENT),
        labels=select_prefixed(predicate, _LABEL),
        target=attributes.get("target", ""),
        no_cache=attributes.get("no-cache") == "",
        no_cache_filter=_split(attributes.get("no-cache", "")),
        sandbox=SandboxSettings(network=network, hosts=_split(attributes.get("add-hosts", ""))),
        source_policy=policy,
        syntax=_find_syntax(predicate),
    )
    return replace(settings, build=build)


def choose_network(wanted: str, recorded: str) -> str:
    """Return the network mode of RUN, ``none`` or "".

    Raises InputError for the host's network: that the original build had a privilege is not the user's consent.
    """
    if wanted not in _NETWORKS:
        raise InputError(f"unsupported network {wanted!r}", source="--network", fix="known: default, none")
    mode = wanted or recorded
    if mode not in _NETWORKS:
        message = f"the original build used --network={mode[:40]}, which replay does not support"
        raise InputError(message, source=SOURCE, fix="set --network=default or --network=none")
    return "" if mode == "default" else mode


def select_prefixed(predicate: BuildPredicate, prefix: str) -> tuple[tuple[str, str], ...]:
    """Return the attributes that begin with ``prefix``, without it, sorted."""
    found = sorted(predicate.attributes.items())
    return tuple((name.removeprefix(prefix), text) for name, text in found if name.startswith(prefix))


def _find_syntax(predicate: BuildPredicate) -> str:
    """Return the frontend image with its arguments, "" for BuildKit's own."""
    if predicate.frontend == DOCKERFILE_FRONTEND:
        return ""
    source, command = (predicate.attributes.get(name, "") for name in _SYNTAX)
    return command.strip() or source


def _check_outputs(build: BuildSettings) -> None:
    if any(output.type == "local" and output.get("mode") == "delete" for output in build.outputs):
        raise InputError("replay does not support local output mode=delete", source="--output", fix="omit mode=delete")


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
