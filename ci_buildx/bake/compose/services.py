"""Targets for the services of a compose file (docker buildx 0.38.2, ``bake/compose.go``)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ci_buildx.bake import entries
from ci_buildx.bake.attributes import clean_ssh, remove_repeated
from ci_buildx.bake.compose.dotenv import read_variables
from ci_buildx.bake.compose.interpolation import InvalidTemplate
from ci_buildx.bake.compose.merging import format_scalar, list_pairs
from ci_buildx.bake.compose.project import ComposeFiles, is_special, load_project
from ci_buildx.bake.entries import SshEntry
from ci_buildx.bake.targets import DEFAULT, LINK, BakeDefinition, BakeGroup, BakeTarget, check_name, sanitize_name
from ci_buildx.errors import InputError
from ci_buildx.hcl.types.unification import ConversionError
from ci_buildx.settings.sandbox import parse_size
from ci_buildx.settings.syntax import read_boolean

_BUILD = frozenset(
    (
        *("context", "dockerfile", "dockerfile_inline", "entitlements", "args", "provenance", "sbom", "ssh", "labels"),
        *("cache_from", "cache_to", "no_cache", "no_cache_filter", "additional_contexts", "pull", "extra_hosts"),
        *("isolation", "network", "target", "secrets", "shm_size", "tags", "ulimits", "platforms", "privileged"),
    )
)
"""Keys of ``build``; others are an error, unless they begin with ``x-``."""
_EXTENSION = "x-bake"
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def read_services(documents: Sequence[tuple[str, str]], env: Mapping[str, str], files: ComposeFiles) -> BakeDefinition:
    """Return the targets of all services with a ``build``, in a group ``default``. Raises InputError."""
    source = documents[0][0]
    project = load_project(documents, env, files)
    services, secrets = project.get("services"), project.get("secrets")
    if services is None and secrets is None:
        raise InputError("empty compose file", source=source)
    known = secrets if isinstance(secrets, dict) else {}
    for name, secret in known.items():
        if not (isinstance(secret, dict) and secret.keys() & {"file", "environment", "external", "content"}):
            raise InputError(f"secrets.{name} must be a file, an environment variable or external", source=source)
    if not isinstance(services, dict):
        if services is not None:
            raise InputError("services must be a mapping", source=source)
        return BakeDefinition()
    targets: list[BakeTarget] = []
    for name, service in sorted(services.items()):
        reader = _ServiceReader(name=name, secrets=known, services=services, env=env, files=files, source=source)
        target = reader.read(service)
        if target is not None:
            targets.append(target)
    group = BakeGroup(name=DEFAULT, targets=tuple(one.name for one in targets))
    return BakeDefinition(groups=(group,), targets=tuple(targets))


class _ServiceReader:
    """One service and what it may refer to."""

    def __init__(
        self,
        *,
        name: str,
        secrets: Mapping[str, Any],
        services: Mapping[str, Any],
        env: Mapping[str, str],
        files: ComposeFiles,
        source: str,
    ) -> None:
        self._name = name
        self._secrets = secrets
        self._services = services
        self._env = env
        self._files = files
        self._source = source

    def fail(self, reason: str, fix: str = "") -> InputError:
        """Return an error for this service."""
        return InputError(f"service {self._name!r}: {reason}", source=self._source, fix=fix)

    def read(self, service: Any) -> BakeTarget | None:
        """Return the target, None for a service that is only an image. Raises InputError."""
        found = service if isinstance(service, dict) else {}
        build = found.get("build")
        if build is None:
            if not found.get("image"):
                raise self.fail("has neither an image nor a build context specified", "add build or image")
            return None
        build = {"context": build} if isinstance(build, str) else build
        if not isinstance(build, dict):
            raise self.fail("build must be a path or a mapping")
        for key in build:
            if key not in _BUILD and not key.startswith("x-"):
                raise self.fail(f"additional properties {key!r} not allowed in build")
        name = sanitize_name(self._name)
        try:
            check_name(name)
            values = self._read_build(build, found)
            self._extend(values, build.get(_EXTENSION) or {})
        except (ValueError, AttributeError, TypeError) as error:
            raise self.fail(str(error)) from None
        if not values.get("tags") and found.get("image"):
            values["tags"] = [str(found["image"])]
        return BakeTarget(name=name, values={key: one for key, one in values.items() if one is not None})

    def _read_build(self, build: dict[str, Any], service: dict[str, Any]) -> dict[str, Any]:
        if build.get("dockerfile") and build.get("dockerfile_inline"):
            raise ConversionError("declares mutually exclusive dockerfile and dockerfile_inline")
        return {
            "context": _clean_context(str(build.get("context", "."))),
            "contexts": self._read_contexts(build.get("additional_contexts")),
            "dockerfile": str(build["dockerfile"]) if build.get("dockerfile") else None,
            "dockerfile-inline": build.get("dockerfile_inline") or None,
            "tags": _read_list(build.get("tags")),
            "labels": _split_map(build.get("labels")),
            "args": self._read_arguments(build.get("args"), service),
            "cache-from": _parse_all(entries.parse_caches, _read_list(build.get("cache_from"))),
            "cache-to": _parse_all(entries.parse_caches, _read_list(build.get("cache_to"))),
            "network": build.get("network") or None,
            "platforms": _read_list(build.get("platforms")),
            "ssh": sorted(_read_ssh(build.get("ssh")), key=lambda one: (one.id, one.paths)) or None,
            "secret": [self._read_secret(one) for one in build.get("secrets") or ()] or None,
            "shm-size": self._read_size(build.get("shm_size")),
            "ulimits": _read_ulimits(build.get("ulimits")),
            "extra-hosts": _read_hosts(build.get("extra_hosts")),
            "attest": _read_attestations(build),
            "no-cache": True if _is_true(build.get("no_cache")) else None,
            "pull": True if _is_true(build.get("pull")) else None,
            "target": str(build["target"]) if build.get("target") else None,
        }

    def _read_contexts(self, value: Any) -> dict[str, str] | None:
        pairs = value.items() if isinstance(value, dict) else (str(one).partition("=")[::2] for one in value or ())
        found: dict[str, str] = {}
        for name, text in pairs:
            if str(text).startswith("service:") and str(text).partition(":")[2] not in self._services:
                raise ConversionError(f"declares unknown service {text!r} as additional contexts {name}")
            found[str(name)] = _link(_clean_context(str(text)))
        return found or None

    def _read_arguments(self, value: Any, service: dict[str, Any]) -> dict[str, str] | None:
        """Return build arguments; those without a value come from the service's environment, then from the process."""
        given = _split_pairs(value)
        open_names = [name for name, text in given.items() if text is None]
        around = self._read_environment(service) if open_names else {}
        found = {name: around.get(name, self._env.get(name)) if text is None else text for name, text in given.items()}
        return {name: text for name, text in found.items() if text is not None} or None

    def _read_environment(self, service: dict[str, Any]) -> dict[str, str]:
        own = {
            name: self._env.get(name) if text is None else text
            for name, text in _split_pairs(service.get("environment")).items()
        }
        found: dict[str, str] = {}
        value = service.get("env_file") or ()
        for one in [value] if isinstance(value, str | dict) else value:
            path = one.get("path", "") if isinstance(one, dict) else one
            required = not isinstance(one, dict) or one.get("required", True)
            text = self._files.read(str(path), source=self._source, required=bool(required))
            known = {name: value for name, value in own.items() if value is not None}
            try:
                found |= read_variables(text or "", {**known, **self._env})
            except InvalidTemplate as error:
                raise ConversionError(f"{path}: {error}") from None
        return found | {name: text for name, text in own.items() if text is not None}

    def _read_secret(self, value: Any) -> entries.SecretEntry:
        source = str(value.get("source", "")) if isinstance(value, dict) else str(value)
        secret = self._secrets.get(source)
        if secret is None:
            raise ConversionError(f"refers to undefined build secret {source}")
        if secret.get("external"):
            raise ConversionError(f"unsupported external secret {source}")
        file = str(secret.get("file") or "")
        return entries.SecretEntry(
            id=source, src=posixpath.normpath(file) if file else "", env=str(secret.get("environment") or "")
        )

    def _read_size(self, value: Any) -> str | None:
        if not value:
            return None
        size = value if isinstance(value, int) else parse_size(str(value), source=f"{self._source}: shm_size")
        return format_size(size)

    def _extend(self, values: dict[str, Any], extension: dict[str, Any]) -> None:
        """Add what ``x-bake`` says."""
        for key, name in (("tags", "tags"), ("platforms", "platforms"), ("no-cache-filter", "no-cache-filter")):
            if found := _read_words(extension.get(key)):
                values[name] = remove_repeated([*(values.get(name) or ()), *found])
        parsers: tuple[tuple[str, Callable[[str], Sequence[Any]], Callable[[list[Any]], list[Any]]], ...] = (
            ("cache-from", entries.parse_caches, entries.remove_equal),
            ("cache-to", entries.parse_caches, entries.remove_equal),
            ("secret", entries.parse_secret, lambda found: entries.replace_by_name(found, lambda one: one.id)),
            ("ssh", entries.parse_ssh, lambda found: sorted(clean_ssh(found), key=lambda one: (one.id, one.paths))),
            ("output", entries.parse_output, entries.remove_equal),
        )
        for key, parse, clean in parsers:
            if parsed := _parse_all(parse, _read_words(extension.get(key))):
                values[key] = clean([*(values.get(key) or ()), *parsed])
        for key in ("pull", "no-cache"):
            if extension.get(key) is not None:
                values[key] = _is_true(extension[key])
        if contexts := extension.get("contexts"):
            added = {str(name): _link(str(text)) for name, text in contexts.items()}
            values["contexts"] = {**added, **(values.get("contexts") or {})}


def format_size(size: int) -> str:
    """Return bytes as docker shows them: ``128MiB`` (docker/go-units, ``BytesSize``)."""
    for unit, name in _SIZES:
        if size >= unit:
            return f"{float(f'{size / unit:.4g}'):.12g}{name}"
    return f"{size}B"


def _clean_context(text: str) -> str:
    return text if is_special(text) else posixpath.normpath(text)


def _link(text: str) -> str:
    if text.startswith(("service:", LINK)):
        return LINK + sanitize_name(text.partition(":")[2])
    return text


def _is_true(value: Any) -> bool:
    return value if isinstance(value, bool) else read_boolean(str(value)) is True


def _read_list(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [value] if isinstance(value, str) else [format_scalar(one) for one in value]


def _read_words(value: Any) -> list[str]:
    """Return a list, or the words of a text."""
    return value.split() if isinstance(value, str) else [format_scalar(one) for one in value or ()]


def _parse_all(parse: Callable[[str], Sequence[Any]], texts: Sequence[str] | None) -> list[Any] | None:
    return [one for text in texts or () if text for one in parse(text)] or None


def _split_pairs(value: Any) -> dict[str, str | None]:
    if isinstance(value, dict):
        return {name: None if one is None else format_scalar(one) for name, one in value.items()}
    found: dict[str, str | None] = {}
    for one in value or ():
        name, equals, text = format_scalar(one).partition("=")
        found[name] = text if equals else None
    return found


def _split_map(value: Any) -> dict[str, str] | None:
    return {name: text or "" for name, text in _split_pairs(value).items()} or None


def _read_ssh(value: Any) -> list[SshEntry]:
    if isinstance(value, dict):
        return [SshEntry(id=str(name), paths=(str(path),) if path else ()) for name, path in value.items()]
    found: dict[str, SshEntry] = {}
    for one in value or ():
        name, equals, path = str(one).partition("=")
        if not equals and name != "default":
            raise ConversionError(f"invalid ssh key {one!r}")
        found[name] = SshEntry(id=name, paths=(path,) if path else ())
    return list(found.values())


def _read_ulimits(value: Any) -> list[str] | None:
    found: list[str] = []
    for name, one in sorted((value or {}).items()):
        soft, hard = (one.get("soft", 0), one.get("hard", 0)) if isinstance(one, dict) else (one, one)
        found.append(f"{name}={soft}:{hard}")
    return found or None


def _read_hosts(value: Any) -> dict[str, str] | None:
    found: dict[str, list[str]] = {}
    for one in list_pairs(value):
        text = str(one)
        name, mark, address = text.partition("=")
        if not mark:
            name, mark, address = text.partition(":")
        if not mark:
            raise ConversionError(f"invalid additional host, missing IP: {text}")
        parts = (part[1:-1] if part[:1] == "[" and part[-1:] == "]" else part for part in address.split(","))
        found.setdefault(name, []).extend(parts)
    return {name: ",".join(parts) for name, parts in found.items()} or None


def _read_attestations(build: dict[str, Any]) -> list[entries.AttestationEntry] | None:
    found: list[entries.AttestationEntry] = []
    for kind in ("sbom", "provenance"):
        value = build.get(kind)
        if value is None or value == "":
            continue
        text = format_scalar(value)
        wanted = read_boolean(text)
        attrs = text if wanted is None else f"disabled={'false' if wanted else 'true'}"
        found += entries.parse_attestation(f"type={kind},{attrs}")
    return found or None
