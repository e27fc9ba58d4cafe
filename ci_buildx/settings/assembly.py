"""From raw values, of whatever surface, to the settings of one build: the only way to make them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings import options
from ci_buildx.settings.attestations import parse_provenance, parse_sbom
from ci_buildx.settings.attributes import parse_cache_from, parse_cache_to, parse_outputs
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.buildkitd import parse_flags, read_config
from ci_buildx.settings.contexts import find_dockerfile, parse_context
from ci_buildx.settings.csvline import split_lines
from ci_buildx.settings.driver_opts import check_namespace, parse_driver_opts
from ci_buildx.settings.durations import parse_duration
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.option import Kind, Option
from ci_buildx.settings.pairs import parse_annotations, parse_build_args, parse_labels
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.secrets import parse_secrets
from ci_buildx.settings.tags import parse_tags
from ci_buildx.settings.values import (
    Attributes,
    BuilderSettings,
    BuildSettings,
    ClusterSettings,
    Progress,
    Settings,
    TransportChoice,
)

Value = list[str] | str | bool
Choice = TypeVar("Choice", bound=StrEnum)


def settings_from(
    values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path
) -> Settings:
    """Check everything the user said and make the settings of it.

    ``values`` is keyed by the names of the table in :mod:`~ci_buildx.settings.options`; a list given as one text is
    split as its kind says; empty texts count as not given. ``sources`` says where each value came from, as the user
    knows it (``--platform``, ``input platforms``, ``KUBE_BUILDER_PLATFORMS``); it is the head of every error.
    ``cwd`` is absolute. Files are read and nothing is written. Raises InputError.
    """
    given = _Given(values, sources, env, cwd)
    given.check_names()
    settings = Settings(
        build=_build(given),
        builder=_builder(given),
        cluster=_cluster(given),
        builder_name=given.text("builder"),
        keep=given.switch("keep"),
        transport=given.choice("transport", TransportChoice),
    )
    _check_push(settings.build, given)
    _check_image_id(settings.build, given)
    _check_reuse(settings, given)
    return settings


def cluster_from(
    values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path
) -> ClusterSettings:
    """The cluster alone, for verbs that build nothing."""
    return _cluster(_Given(values, sources, env, cwd))


def namespace_from(values: Mapping[str, Value], sources: Mapping[str, str], env: Mapping[str, str], cwd: Path) -> str:
    """The namespace that was asked for, "" for one of the builder's own. Reads no files. Raises InputError."""
    return _placed(_Given(values, sources, env, cwd)).namespace


def read_variables(env: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """Values and sources of the options that ``KUBE_BUILDER_…`` variables set."""
    found = [option for option in options.OPTIONS if env.get(option.variable)]
    return {option.name: env[option.variable] for option in found}, {option.name: option.variable for option in found}


@dataclass(frozen=True, slots=True)
class _Given:
    """The raw values, read by the kind that the table says."""

    values: Mapping[str, Value]
    sources: Mapping[str, str]
    env: Mapping[str, str]
    cwd: Path

    def check_names(self) -> None:
        for name in self.values:
            if name not in options.BY_NAME:
                raise InputError(
                    f"unknown option {name!r}", source=self.source(name), fix=suggest(name, options.BY_NAME)
                )

    def source(self, name: str) -> str:
        return self.sources.get(name, name)

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        if isinstance(value, str):
            return value.strip()
        raise InputError(f"{value!r} is not one text", source=self.source(name))

    def texts(self, name: str) -> list[str]:
        """The values of a list. From a single text (an input, a variable) they are split as the table says."""
        value = self.values.get(name, [])
        if isinstance(value, bool):
            raise InputError("is given as a boolean", source=self.source(name), fix="give one value a line")
        if isinstance(value, str):
            value = _split(value, options.BY_NAME[name])
        return [text for text in value if text]

    def switch(self, name: str) -> bool:
        value = self.values.get(name, False)
        if isinstance(value, bool):
            return value
        wanted = read_boolean(self.text(name) or "false")
        if wanted is None:
            raise InputError(
                f"{value!r} is neither true nor false", source=self.source(name), fix="write true or false"
            )
        return wanted

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        text = self.text(name) or options.BY_NAME[name].default
        if text not in list(kind):
            raise InputError(f"unknown {name} {text!r}", source=self.source(name), fix=_suggest_choice(text, kind))
        return kind(text)

    def output_file(self, name: str) -> Path | None:
        """A file to write later: its folder must be there now."""
        text = self.text(name)
        if not text:
            return None
        path = self.cwd / text
        if path.is_dir():
            raise InputError(f"{text!r} is a folder", source=self.source(name), fix="name a file")
        if not path.parent.is_dir():
            raise InputError(
                f"folder {str(Path(text).parent)!r} does not exist", source=self.source(name), fix="make it first"
            )
        return path


def _split(text: str, option: Option) -> list[str]:
    lines = split_lines(text)
    if option.kind is Kind.WORDS:
        return [word.strip() for line in lines for word in line.split(",") if word.strip()]
    return lines


def _suggest_choice(text: str, kind: type[StrEnum]) -> str:
    """Nearest or all; ``none`` is the name that buildx gave to what it calls quiet elsewhere."""
    return (
        f"did you mean {Progress.QUIET.value!r}?" if kind is Progress and text == "none" else suggest(text, list(kind))
    )


def _build(given: _Given) -> BuildSettings:
    env, cwd, source = given.env, given.cwd, given.source
    context = parse_context(given.text("context") or options.CONTEXT.default, source=source("context"), cwd=cwd)
    file = given.text("file")
    dockerfile = find_dockerfile(file, context=context, source=source("file" if file else "context"), cwd=cwd)
    return BuildSettings(
        context=context,
        dockerfile=dockerfile.path,
        dockerfile_name=dockerfile.name,
        tags=parse_tags(given.texts("tags"), source=source("tags")),
        platforms=parse_platforms(given.texts("platforms"), source=source("platforms")),
        push=given.switch("push"),
        build_args=parse_build_args(given.texts("build-args"), source=source("build-args"), env=env),
        target=given.text("target"),
        labels=parse_labels(given.texts("labels"), source=source("labels")),
        annotations=parse_annotations(given.texts("annotations"), source=source("annotations")),
        no_cache=given.switch("no-cache"),
        pull=given.switch("pull"),
        secrets=parse_secrets(
            given.texts("secrets"),
            source=source("secrets"),
            env=env,
            cwd=cwd,
            inline=source("secrets") not in options.BY_NAME["secrets"].flags,
        ),
        cache_from=parse_cache_from(given.texts("cache-from"), source=source("cache-from"), cwd=cwd),
        cache_to=parse_cache_to(given.texts("cache-to"), source=source("cache-to"), cwd=cwd),
        outputs=parse_outputs(given.texts("outputs"), source=source("outputs"), cwd=cwd),
        provenance=parse_provenance(given.text("provenance"), source=source("provenance"), env=env),
        sbom=parse_sbom(given.text("sbom"), source=source("sbom")),
        metadata_file=given.output_file("metadata-file"),
        iidfile=given.output_file("iidfile"),
        progress=given.choice("progress", Progress),
    )


def _placed(given: _Given) -> BuilderSettings:
    """What the driver options say, in the namespace that was asked for here or there."""
    builder = parse_driver_opts(given.texts("driver-opts"), source=given.source("driver-opts"))
    namespace = given.text("namespace")
    if not namespace:
        return builder
    check_namespace(namespace, source=given.source("namespace"))
    if builder.namespace not in ("", namespace):
        message = f"{namespace!r} contradicts namespace={builder.namespace} of {given.source('driver-opts')}"
        raise InputError(message, source=given.source("namespace"), fix="give one of them")
    return replace(builder, namespace=namespace)


def _builder(given: _Given) -> BuilderSettings:
    builder = _placed(given)
    if lifetime := given.text("lifetime"):
        seconds = parse_duration(lifetime, source=given.source("lifetime"))
        builder = replace(builder, lifetime=max(1, round(seconds)))
    if config := given.text("buildkitd-config"):
        text = read_config(config, source=given.source("buildkitd-config"), cwd=given.cwd)
        builder = replace(builder, buildkitd_config=text)
    flags = parse_flags(given.text("buildkitd-flags"), source=given.source("buildkitd-flags"))
    return replace(builder, buildkitd_flags=flags) if flags else builder


def _cluster(given: _Given) -> ClusterSettings:
    context = given.text("kube-context")
    text = given.text("kubeconfig")
    if not text:
        files = tuple(Path(name) for name in given.env.get("KUBECONFIG", "").split(":") if name)
        return ClusterSettings(kubeconfig=files, context=context)
    path = given.cwd / text
    if not path.is_file():
        raise InputError(f"kubeconfig {text!r} does not exist", source=given.source("kubeconfig"))
    return ClusterSettings(kubeconfig=(path,), context=context)


def _check_push(build: BuildSettings, given: _Given) -> None:
    """A push needs a name, from a tag or from the output itself (buildx 0.38.2 ``build/opt.go``)."""
    pushing = [output for output in build.outputs if _pushes(output)]
    nameless = [output for output in pushing if not output.get("name")]
    if build.tags or not (build.push or nameless):
        return
    source = given.source("push" if build.push else "outputs")
    raise InputError("there is no name to push to", source=source, fix="add --tag registry/name:tag")


def _pushes(output: Attributes) -> bool:
    return output.type == "registry" or (output.type == "image" and read_boolean(output.get("push")) is True)


def _check_reuse(settings: Settings, given: _Given) -> None:
    """A kept builder is what it is: options that would shape a new one are refused."""
    if settings.builder_name:
        for name in ("driver-opts", "buildkitd-config", "buildkitd-flags", "lifetime"):
            if given.values.get(name):
                message = f"has no effect on the existing builder {settings.builder_name!r}"
                raise InputError(
                    message, source=given.source(name), fix=f"leave it out or leave out {given.source('builder')}"
                )


def _check_image_id(build: BuildSettings, given: _Given) -> None:
    """Files have no image ID (buildx 0.38.2 ``commands/build.go``)."""
    if build.iidfile and any(output.type in ("local", "tar") for output in build.outputs):
        raise InputError("a folder or tar of files has no image ID", source=given.source("iidfile"), fix="leave it out")
