"""Registries whose logins buildkitd may have in a build: those that the build names.

buildkitd asks for the login of any host. It gets those of the images that are pushed, of caches, of named contexts and
of the images that the Dockerfile names, and of mirrors that its own configuration names for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ci_buildx.buildkit.exporters import find_push
from ci_buildx.model import reference
from ci_buildx.model.hosts import normalize_host
from ci_buildx.registry.dockerconfig import HUB, canonical
from ci_buildx.settings.values import Attributes, BuildSettings

LARGEST_DOCKERFILE = 4 << 20
_IMAGE = "docker-image://"
_STANDARD_FRONTENDS = ("docker/dockerfile", "docker/dockerfile-upstream", "docker.io/docker/dockerfile")
_DIRECTIVE = re.compile(r"\s*(?:#|//)\s*(syntax|escape)\s*=\s*(\S+)", re.IGNORECASE)
_INSTRUCTION = re.compile(r"\s*(ARG|FROM|COPY|ADD|RUN)\s+(.*)", re.IGNORECASE | re.DOTALL)
_FROM = re.compile(r"(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_COPIED_FROM = re.compile(r"(?<!\S)--from=(\S+)", re.IGNORECASE)
_MOUNTED_FROM = re.compile(r"(?<!\S)--mount=(\S+)", re.IGNORECASE)
_ARGUMENT = re.compile(r"""([A-Za-z_]\w*)(?:=("[^"]*"|'[^']*'|\S*))?""")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")
_UNKNOWN = "\0"


def find_login_hosts(build: BuildSettings) -> frozenset[str] | None:
    """Return the hosts (with port) of all registries that a build names, in one spelling.

    None is returned if they cannot be known beforehand: the Dockerfile is in a remote context, another frontend reads
    it, or a variable that has no value here is the beginning of an image's name.
    """
    references = [*_list_references(build)]
    named = _read_dockerfile(build)
    if named is None:
        return None
    hosts = set()
    for text in (*references, *named):
        try:
            hosts.add(canonical(normalize_host(reference.parse(text).domain)))
        except ValueError:
            if _UNKNOWN in text.partition("/")[0] or "/" not in text:
                return None
            hosts.add(canonical(normalize_host(text.partition("/")[0])))
    return frozenset(hosts)


def _list_references(build: BuildSettings) -> Iterator[str]:
    """List the images that the settings name."""
    yield from build.tags
    push = find_push(build)
    if push is not None:
        yield from (str(one) for one in push.references)
        if push.dangling:
            yield push.dangling
    for output in build.outputs:
        yield from filter(None, output.get("name").split(","))
    for cache in (*build.cache_from, *build.cache_to):
        if ref := _find_cache_reference(cache):
            yield ref
    for context in build.contexts:
        if isinstance(context.location, str) and context.location.startswith(_IMAGE):
            yield context.location.removeprefix(_IMAGE)
    for attestation in (build.sbom, *dict(build.attestations).values()):
        if attestation:
            yield HUB + "/docker/buildkit-syft-scanner"
            yield from re.findall(r"generator=([^,\"]+)", attestation)
    for rule in build.source_policy.rules if build.source_policy else ():
        if rule.updates is not None and rule.updates.identifier.startswith(_IMAGE):
            yield rule.updates.identifier.removeprefix(_IMAGE)


def _find_cache_reference(cache: Attributes) -> str:
    return cache.get("ref") if cache.type == "registry" else ""


def _read_dockerfile(build: BuildSettings) -> list[str] | None:
    """Return the images that the Dockerfile names, None if they cannot be known."""
    arguments = dict(build.build_args)
    if frontend := arguments.get("BUILDKIT_SYNTAX", "").partition(" ")[0]:
        return None if not _is_standard(frontend) else [frontend, *(_read_text(build, arguments) or ())]
    return _read_text(build, arguments)


def _read_text(build: BuildSettings, arguments: Mapping[str, str]) -> list[str] | None:
    if build.dockerfile is None:
        return None
    try:
        with build.dockerfile.open("rb") as file:
            text = file.read(LARGEST_DOCKERFILE).decode(errors="replace")
    except OSError:
        return None
    return parse_images(text, arguments)


def parse_images(text: str, arguments: Mapping[str, str]) -> list[str] | None:
    """Return the images that a Dockerfile names, variables expanded; None if another frontend reads it.

    ``arguments`` are the build arguments. A variable without a value is a NUL character in the result.
    """
    found: list[str] = []
    escape = "\\"
    lines = text.splitlines()
    for line in lines:
        directive = _DIRECTIVE.match(line)
        if directive is None:
            break
        if directive[1].lower() == "escape":
            escape = directive[2]
        elif not _is_standard(directive[2]):
            return None
        else:
            found.append(directive[2])
    values: dict[str, str] = {}
    stages: set[str] = set()
    for instruction, rest in _list_instructions(lines, escape):
        if instruction == "ARG":
            for name, default in _ARGUMENT.findall(rest):
                values[name] = arguments.get(name, _expand(default.strip("'\""), values) if default else _UNKNOWN)
            continue
        if instruction == "FROM" and (source := _FROM.match(rest)):
            image, name = _expand(source[1], values), (source[2] or "").lower()
            if image.lower() not in stages and image != "scratch":
                found.append(image)
            stages.add(name)
            continue
        copied = _COPIED_FROM.findall(rest)
        mounted = [
            part[5:] for mount in _MOUNTED_FROM.findall(rest) for part in mount.split(",") if part[:5] == "from="
        ]
        images = [_expand(one.strip("'\""), values) for one in (*copied, *mounted)]
        found += [image for image in images if image.lower() not in stages and not image.isdecimal()]
    return found


def _list_instructions(lines: list[str], escape: str) -> Iterator[tuple[str, str]]:
    """List the instructions that may name an image, continued lines joined."""
    joined = ""
    for line in lines:
        if line.lstrip().startswith("#"):
            continue
        joined += line.rstrip()
        if joined.endswith(escape):
            joined = joined[:-1] + " "
            continue
        if instruction := _INSTRUCTION.match(joined):
            yield instruction[1].upper(), instruction[2]
        joined = ""


def _expand(text: str, values: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        value = values.get(found[1] or found[2], _UNKNOWN)
        match found[3]:
            case "-" | ":-":
                return found[4] if value in ("", _UNKNOWN) else value
            case "+" | ":+":
                return "" if value in ("", _UNKNOWN) else found[4]
            case _:
                return value

    return _VARIABLE.sub(replace, text)


def _is_standard(frontend: str) -> bool:
    name = frontend.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return (path if colon and "/" not in tag else name) in _STANDARD_FRONTENDS
