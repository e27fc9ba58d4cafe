"""Builds the settings from raw values and reads kube-builder's own variables: inputs, job reports, probable typos."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model import debug
from ci_buildx.model.plaintext import describe_pasted, read_kubeconfig
from ci_buildx.model.record import replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings import names as settings_names
from ci_buildx.settings import options
from ci_buildx.settings.builder import BuilderSettings, Reclaim
from ci_buildx.settings.building import make_build_settings
from ci_buildx.settings.names import StickyKey, check_builder, check_namespace
from ci_buildx.settings.option import VARIABLE_PREFIX, Option
from ci_buildx.settings.raw_values import RawValues, Value
from ci_buildx.settings.syntax import is_whole_number, parse_duration, read_boolean, read_mode, show_start
from ci_buildx.settings.values import (
    MOST_RETRIES,
    QUEUE_TIMEOUT,
    RETRIES,
    BuildSettings,
    ClusterSettings,
    PreviewKind,
    Settings,
    TransportChoice,
    TypedAttributes,
)

REPORTED = ("DIGEST", "IMAGEID", "IMAGE", "METADATA")
"""Suffixes of the variables that a job reports to later jobs, which may also build."""
ABOUT_THE_JOB = ("CI", "REPOSITORY", "RUN", "JOB", "RUN_URL", "CHECKOUT", "ID_TOKEN", "REGISTRY_ID_TOKEN")
"""Suffixes of the variables that describe the current job."""
OF_INPUTS = "INPUT_"
"""Prefix of the variables in which the GitLab template passes its inputs to a job."""
_OF_OTHER_JOBS = tuple(f"_{VARIABLE_PREFIX}{name}" for name in REPORTED)
"""Endings of the reports of a job whose name begins with kube-builder's prefix."""
_NEAR = 0.8
"""Similarity from which a name is a probable typo: other programs may use variables with the same prefix."""


def refuse_typos(env: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise InputError for a variable that is almost one of ``known``: it would be ignored silently."""
    found = [name for name, value in env.items() if name.startswith(VARIABLE_PREFIX) and value.strip()]
    inputs = {name.removeprefix(VARIABLE_PREFIX) for name in known}
    for variable in sorted(found):
        name = variable.removeprefix(VARIABLE_PREFIX)
        if name in inputs or name in (*REPORTED, *ABOUT_THE_JOB) or _is_made(name):
            continue
        from ci_buildx.settings.names import find_nearest

        if match := find_nearest(name, inputs, cutoff=_NEAR):
            raise InputError("unknown variable", source=variable, fix=f"did you mean {VARIABLE_PREFIX}{match}?")


def _is_made(name: str) -> bool:
    """Return whether a program sets this variable rather than a user."""
    return name.startswith(OF_INPUTS) or name.endswith(_OF_OTHER_JOBS)


__all__ = [
    "Value",
    "make_builder_settings",
    "make_cluster_settings",
    "make_settings",
    "read_namespace",
    "read_variables",
]


_LOG = debug.get_log("settings")
_BUILDX_PREFIXES = ("BUILDX_", "BUILDKIT_", "DOCKER_DEFAULT_PLATFORM")
"""Prefixes of buildx's variables that set options or may be rejected."""
_AT_ONCE = ("0", "0s")
"""Values of --queue-timeout with which a build does not wait."""
_SHAPING = (
    "driver-opts",
    "builder-config",
    "buildkitd-config",
    "buildkitd-config-inline",
    "buildkitd-flags",
    "lifetime",
)
"""Options that define a new builder."""


def make_settings(
    values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path
) -> Settings:
    """Check all user input and build the settings from it.

    ``values`` is keyed by the names of the table in :mod:`~ci_buildx.settings.options`; a list given as one text is
    split according to its kind; empty texts count as missing. ``sources`` names the origin of each value as the user
    knows it (``--platform``, ``input platforms``, ``KUBE_BUILDER_PLATFORMS``); every error begins with it. ``cwd`` is
    absolute. Files are read and nothing is written. Raises InputError.
    """
    given = RawValues(values, sources, env, cwd)
    if _LOG.is_on:
        named = (f"{name} ({given.find_source(name)})" for name, value in sorted(values.items()) if value)
        _LOG.debug("given: %s", ", ".join(named))
    given.check_names()
    given.check_values()
    if _has_buildx_variables(env):
        from ci_buildx.settings import docker_variables

        docker_variables.check_variables(env)
    build = make_build_settings(given)
    builder = _make_builder(given)
    own = not given.read_text("builder")
    if own and builder.storage.reclaim is Reclaim.RETAIN:
        raise InputError(
            "reclaim=retain requires a lasting builder",
            source=given.find_source("driver-opts"),
            fix="a job's volume is deleted with its pod: omit it, or make the builder with kube-builder create",
        )
    if own and builder.scaling is not None:
        raise InputError(
            "a range of replicas requires a lasting builder",
            source=given.find_source("driver-opts"),
            fix="set a number of replicas, or make the builder with kube-builder create",
        )
    # An existing builder's own default-load comes from the cluster.
    loads = own and builder.default_load
    settings = Settings(
        build=add_default_load(build, env, source=f"{given.find_source('driver-opts')} default-load")
        if loads
        else build,
        builder=_add_entitlements(build.entitlements, builder),
        cluster=_make_cluster(given),
        builder_name=_read_builder_name(given),
        keep=given.switch("keep"),
        sticky_key=_read_sticky_key(given),
        queue_timeout=_read_queue_timeout(given),
        retries=_read_retries(given),
        transport=given.read_choice("transport", TransportChoice),
        preview=given.read_choice("print", PreviewKind) if given.read_text("print") else None,
    )
    _check_reuse(settings, given)
    _check_cache_exports(settings, given)
    return settings


def add_default_load(build: BuildSettings, env: Mapping[str, str], *, source: str) -> BuildSettings:
    """Apply ``default-load``: a single platform's image goes to the docker daemon unless another output is requested.

    As in buildx 0.38.2 (``build/opt.go``, toSolveOpt). ``source`` names the origin of the option. Raises InputError if
    there is no daemon.
    """
    if read_boolean(env.get("BUILDX_NO_DEFAULT_LOAD", "")) is True:
        return build
    if build.outputs or build.push or build.call or len(build.platforms) > 1:
        return build
    from ci_buildx.settings.docker_variables import find_daemon

    daemon = find_daemon(env, source=source)
    return replace(build, outputs=(TypedAttributes(type="docker"),), daemon=daemon)


def make_cluster_settings(
    values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path
) -> ClusterSettings:
    """Check and return the cluster settings alone, for verbs that do not build. Raises InputError."""
    given = RawValues(values, sources, env, cwd)
    given.check_values()
    return _make_cluster(given)


def make_builder_settings(
    values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path
) -> BuilderSettings:
    """Check and return the builder settings alone, for verbs that do not build. Reads files. Raises InputError."""
    given = RawValues(values, sources, env, cwd)
    given.check_values()
    return _make_builder(given)


def read_namespace(values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path) -> str:
    """Return the requested namespace, or "" for a namespace of the builder's own. Raises InputError."""
    given = RawValues(values, sources, env, cwd)
    texts, document = given.read_texts("driver-opts"), given.read_text("builder-config")
    if not texts and not document:
        return _choose_namespace(given, "")
    from ci_buildx.settings.driver_opts import parse
    from ci_buildx.settings.driver_opts.outside import ExternalInputs

    outside, source = ExternalInputs(env=env, cwd=cwd), given.find_source("builder-config")
    entries = parse.read_document_entries(document, source=source, outside=outside) if document else {}
    entries |= parse.read_entries(texts, source=given.find_source("driver-opts"))
    return _choose_namespace(given, parse.read_namespace_option(entries))


def read_variables(
    env: Mapping[str, str], known: Iterable[Option] = options.OPTIONS
) -> tuple[dict[str, Value], dict[str, str]]:
    """Return values and sources of the options that variables set: kube-builder's variables first, then buildx's.

    Raises InputError for a probable typo of one of kube-builder's variables.
    """
    offered = tuple(known)
    refuse_typos(env, (option.variable for option in (*options.OPTIONS, *offered)))
    found = [option for option in offered if env.get(option.variable)]
    own = {option.name: (env[option.variable], option.variable) for option in found}
    names = {option.name for option in offered}
    read = own
    if _has_buildx_variables(env):
        from ci_buildx.settings import docker_variables

        read = {name: one for name, one in docker_variables.read_options(env).items() if name in names} | own
    return {name: value for name, (value, _) in read.items()}, {name: variable for name, (_, variable) in read.items()}


def _has_buildx_variables(env: Mapping[str, str]) -> bool:
    """Return whether buildx variables may be set: usually they are not, and their table need not be imported."""
    return any(name.startswith(_BUILDX_PREFIXES) for name in env)


def _read_driver_options(given: RawValues) -> BuilderSettings:
    """Read the driver options; those of the command line override those of the document."""
    texts, document = given.read_texts("driver-opts"), given.read_text("builder-config")
    if not texts and not document:
        return BuilderSettings()
    from ci_buildx.settings.driver_opts.parse import parse_document, parse_driver_opts

    base = BuilderSettings()
    if document:
        base = parse_document(document, source=given.find_source("builder-config"), env=given.env, cwd=given.cwd)
    return parse_driver_opts(texts, source=given.find_source("driver-opts"), base=base, env=given.env, cwd=given.cwd)


def _choose_namespace(given: RawValues, of_options: str) -> str:
    """Return the requested namespace, set by its own option or by a driver option."""
    namespace = given.read_text("namespace")
    if not namespace:
        return of_options
    check_namespace(namespace, source=given.find_source("namespace"))
    if of_options not in ("", namespace):
        message = f"{namespace!r} conflicts with namespace={of_options} of {given.find_source('driver-opts')}"
        raise InputError(message, source=given.find_source("namespace"), fix="set only one")
    return namespace


def _make_builder(given: RawValues) -> BuilderSettings:
    builder = _read_driver_options(given)
    builder = replace(builder, namespace=_choose_namespace(given, builder.namespace))
    if lifetime := given.read_text("lifetime"):
        seconds = parse_duration(lifetime, source=given.find_source("lifetime"))
        builder = replace(builder, lifetime=max(1, round(seconds)))
    if config := _read_buildkitd_config(given):
        from ci_buildx.settings.buildkitd import read_registry_files

        named = "buildkitd-config" if given.read_text("buildkitd-config") else "buildkitd-config-inline"
        files = read_registry_files(config, source=given.find_source(named), cwd=given.cwd, env=given.env)
        builder = replace(builder, buildkitd_config=config, registry_files=files)
    if flags := given.read_text("buildkitd-flags"):
        from ci_buildx.settings.buildkitd import parse_flags

        builder = replace(builder, buildkitd_flags=parse_flags(flags, source=given.find_source("buildkitd-flags")))
    return builder


def _read_buildkitd_config(given: RawValues) -> str:
    file, text = given.read_text("buildkitd-config"), given.read_text("buildkitd-config-inline")
    if file and text:
        message = f"cannot be combined with {given.find_source('buildkitd-config')}"
        raise InputError(message, source=given.find_source("buildkitd-config-inline"), fix="set only one")
    if not file and not text:
        return ""
    from ci_buildx.settings.buildkitd import check_config, read_config

    if text:
        return check_config(text, name="the text", source=given.find_source("buildkitd-config-inline"))
    return read_config(file, source=given.find_source("buildkitd-config"), cwd=given.cwd, env=given.env)


def _read_builder_name(given: RawValues) -> str:
    """Return the name of an existing builder, which is the name of its namespace, or "" for a new builder."""
    name = given.read_text("builder")
    return check_builder(name, source=given.find_source("builder")) if name else ""


def _read_sticky_key(given: RawValues) -> StickyKey:
    template = given.read_text("sticky-key")
    return (
        settings_names.parse_sticky_key(template, source=given.find_source("sticky-key")) if template else StickyKey()
    )


def _read_queue_timeout(given: RawValues) -> float:
    text = given.read_text("queue-timeout")
    if not text:
        return QUEUE_TIMEOUT
    return 0.0 if text in _AT_ONCE else parse_duration(text, source=given.find_source("queue-timeout"))


def _read_retries(given: RawValues) -> int:
    text = given.read_text("retries")
    if not text:
        return RETRIES
    if not (is_whole_number(text) and 0 <= int(text) <= MOST_RETRIES):
        message = f"{show_start(text)} is not a whole number from 0 to {MOST_RETRIES}"
        raise InputError(message, source=given.find_source("retries"), fix="set, for example, 2")
    return int(text)


def _add_entitlements(entitlements: Iterable[str], builder: BuilderSettings) -> BuilderSettings:
    """Return a builder that grants the build's entitlements; this is safe because it serves only this build."""
    kinds = dict.fromkeys(name.partition("=")[0] for name in entitlements)
    flags = (f"--allow-insecure-entitlement={kind}" for kind in kinds)
    added = tuple(flag for flag in flags if flag not in builder.buildkitd_flags)
    return replace(builder, buildkitd_flags=(*builder.buildkitd_flags, *added)) if added else builder


def _make_cluster(given: RawValues) -> ClusterSettings:
    context, oidc = given.read_text("kube-context"), given.read_text("oidc")
    text, source = given.read_text("kubeconfig"), given.find_source("kubeconfig")
    if not text:
        text, source = given.env.get("KUBECONFIG", ""), "KUBECONFIG"
    content = read_kubeconfig(text)
    if content is not None:
        return ClusterSettings(content=Secret(content), context=context, oidc=oidc)
    if looks := describe_pasted(text, is_path=":" not in text):
        fix = "name a file (on GitLab: a variable of type File), or set its content with all line breaks"
        raise InputError(
            f"value is neither a path nor a complete kubeconfig; it looks like {looks}", source=source, fix=fix
        )
    if not given.read_text("kubeconfig"):
        files = tuple(Path(name) for name in text.split(os.pathsep) if name)
        return ClusterSettings(kubeconfig=files, context=context, oidc=oidc)
    path = given.cwd / text
    mode = read_mode(path, source=source)
    if mode is not None and stat.S_ISDIR(mode):
        raise InputError(f"kubeconfig {text!r} is a folder", source=source, fix="name a kubeconfig file")
    if mode is None:
        raise InputError(f"kubeconfig {text!r} does not exist", source=source)
    return ClusterSettings(kubeconfig=(path,), context=context, oidc=oidc)


_NEEDED_BY_CACHES = {
    "s3": (("bucket", "AWS_BUCKET"), ("region", "AWS_REGION")),
    "azblob": (("account_url", "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"),),
}
"""Attributes without which BuildKit 0.34.2 fails (``cache/remotecache``), and its own variables in their place."""


def _check_cache_exports(settings: Settings, given: RawValues) -> None:
    """Reject a cache export that lacks a required attribute, which buildkitd would report after the build.

    An existing builder, a pod template or driver-opt ``env`` may set buildkitd's variables instead. A preview shows
    what there is.
    """
    builder = settings.builder
    for cache in settings.build.cache_to if settings.preview is None else ():
        for name, variable in _NEEDED_BY_CACHES.get(cache.type, ()):
            unknown = settings.builder_name or builder.pod_template or variable in dict(builder.env)
            if not (cache.get(name) or unknown):
                message = f"cache type={cache.type} requires {name}"
                raise InputError(message, source=given.find_source("cache-to"), fix=f"add {name}=…")


def _check_reuse(settings: Settings, given: RawValues) -> None:
    """Reject options that would define a new builder if an existing one is used.

    Variables are exempt: they apply to all builds of an environment, and affect only those that create a builder.
    """
    if settings.builder_name:
        for name in _SHAPING:
            if given.values.get(name) and given.find_source(name) != options.BY_NAME[name].variable:
                message = f"has no effect on the existing builder {settings.builder_name!r}"
                raise InputError(
                    message,
                    source=given.find_source(name),
                    fix=f"omit it or omit {given.find_source('builder')}",
                )
