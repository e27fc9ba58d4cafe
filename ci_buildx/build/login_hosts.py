"""The registries whose logins buildkitd may get in a build: those that the build names.

buildkitd requests the login of any host. It gets those of pushed images, of caches, of named contexts, of the images
that the Dockerfile names, and of the mirrors that its own configuration names for them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from ci_buildx.build.expansion import Unusable, expand
from ci_buildx.buildkit.exporters import find_push
from ci_buildx.model import reference
from ci_buildx.model.documents import parse_json
from ci_buildx.model.hosts import normalize_host
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass
from ci_buildx.registry.credentials import HUB, canonicalize_host
from ci_buildx.settings.values import BuildSettings, TypedAttributes

LARGEST_DOCKERFILE = 4 << 20
_IMAGE = "docker-image://"
_STANDARD_FRONTENDS = ("docker/dockerfile", "docker/dockerfile-upstream", "docker.io/docker/dockerfile")
_DIRECTIVES = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)")
_INSTRUCTION = re.compile(r"(ARG|FROM|COPY|ADD|RUN)\s+(.*)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_HEREDOC = re.compile(r"""(?<!\S)\d*<<(-?)["']?([^\s<"']+)["']?(?!\S)""")
_USUAL = (Platform("linux", "amd64"), Platform("linux", "arm64"))
"""Platforms to build for and on if the build names none."""


def find_login_hosts(build: BuildSettings) -> frozenset[str] | None:
    """Return the hosts (with port) of all registries that a build names, in canonical spelling.

    Returns None if they cannot be known beforehand: the Dockerfile is in a remote context, or another frontend reads
    it.
    """
    named = _read_dockerfile(build)
    return None if named is None else _read_hosts((*_list_references(build), *named))


def find_hosts_of_settings(build: BuildSettings) -> frozenset[str]:
    """Return the hosts that a build names outside of its Dockerfile, as :func:`find_login_hosts` does."""
    return _read_hosts(_list_references(build))


def _read_hosts(references: Iterable[str]) -> frozenset[str]:
    hosts = set()
    for text in references:
        try:
            host = reference.parse_reference(text).domain
        except ValueError:
            host = text.partition("/")[0]
        hosts.add(canonicalize_host(normalize_host(host)))
    return frozenset(hosts)


def _list_references(build: BuildSettings) -> Iterator[str]:
    """Yield the images that the settings name."""
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


def _find_cache_reference(cache: TypedAttributes) -> str:
    return cache.get("ref") if cache.type == "registry" else ""


def _read_dockerfile(build: BuildSettings) -> list[str] | None:
    """Return the images that the Dockerfile names, None if they cannot be known."""
    arguments = dict(build.build_args)
    if frontend := arguments.get("BUILDKIT_SYNTAX", "").partition(" ")[0]:
        return None if not _is_standard(frontend) else [frontend, *(_read_text(build, arguments) or ())]
    return _read_text(build, arguments)


def _read_text(build: BuildSettings, arguments: Mapping[str, str]) -> list[str] | None:
    text = read_content(build)
    if text is None:
        return None
    contexts = [context.name.lower() for context in build.contexts]
    platforms = dict.fromkeys((*build.platforms, *_USUAL))
    found = [parse_images(text, arguments, platform=one, contexts=contexts) for one in platforms]
    return None if None in found else [image for images in found for image in images or ()]


def read_content(build: BuildSettings) -> str | None:
    """Return the Dockerfile, at most :data:`LARGEST_DOCKERFILE` of it, None if it is not local or cannot be read."""
    if build.dockerfile is None:
        return None
    try:
        with build.dockerfile.open("rb") as file:
            return file.read(LARGEST_DOCKERFILE).decode(errors="replace")
    except OSError:
        return None


def find_base_images(build: BuildSettings) -> list[str]:
    """Return the images that the target stage certainly needs, whatever the platform; [] if they cannot be known."""
    text, arguments = read_content(build), dict(build.build_args)
    frontend = arguments.get("BUILDKIT_SYNTAX", "").partition(" ")[0]
    if text is None or (frontend and not _is_standard(frontend)):
        return []
    first, *others = (list_needed_images(parse_stages(text, arguments, platform=one), build.target) for one in _USUAL)
    common = set(first).intersection(*others)
    return [image for image in first if image in common]


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileStage:
    """A stage of a Dockerfile: its ``name`` in lower case, "" for none, its ``base``, and the ``sources`` of its files.

    Both are images, or names or numbers of earlier stages.
    """

    name: str
    base: str
    sources: tuple[str, ...] = ()


def list_needed_images(stages: Sequence[DockerfileStage], target: str = "") -> list[str]:
    """Return the images that ``target`` (a name or number; "" is the last stage) is built from, without duplicates.

    BuildKit resolves no other stage's image (0.34.2, ``frontend/dockerfile/dockerfile2llb/convert.go``).
    """
    known: dict[str, int] = {}
    needs: list[list[int | str]] = []
    for number, stage in enumerate(stages):
        # A base is never a number: FROM 0 is the image named 0.
        base = known.get(stage.base.lower(), stage.base)
        needs.append([base, *(_find_source(name, known, number) for name in stage.sources)])
        if stage.name:
            known[stage.name] = number
    last = _find_source(target, known, len(stages)) if target else len(stages) - 1
    wanted: list[int | str] = [last] if isinstance(last, int) else []
    seen, images = set[int](), dict[str, None]()
    while wanted:
        found = wanted.pop()
        if isinstance(found, str):
            images |= {found: None} if found not in ("", "scratch") else {}
        elif found >= 0 and found not in seen:
            seen.add(found)
            wanted += needs[found]
    return list(images)


def _find_source(name: str, known: Mapping[str, int], before: int) -> int | str:
    """Return the number of the stage of this name or number; -1 for a wrong number; else the name, an image's."""
    if name.isdecimal():
        return int(name) if len(name) < 6 and int(name) < before else -1
    return known.get(name.lower(), name)


def parse_images(
    text: str, arguments: Mapping[str, str], *, platform: Platform = _USUAL[0], contexts: Collection[str] = ()
) -> list[str] | None:
    """Return the images that a Dockerfile names, variables expanded; None if another frontend reads it.

    ``arguments`` are the build arguments, ``platform`` is the platform to build for and on. ``contexts`` are names that
    are not images. Names that BuildKit itself rejects are left out.
    """
    syntax, _ = _read_directives(_list_lines(text))
    if syntax and not _is_standard(syntax):
        return None
    found = [syntax] if syntax else []
    known = set(contexts)
    for stage in parse_stages(text, arguments, platform=platform):
        if stage.base and stage.base != "scratch" and stage.base.lower() not in known:
            found.append(stage.base)
        if stage.name:
            known.add(stage.name)
        found += [image for image in stage.sources if image.lower() not in known and not image.isdecimal()]
    return found


def parse_stages(
    text: str, arguments: Mapping[str, str], *, platform: Platform = _USUAL[0]
) -> tuple[DockerfileStage, ...]:
    """Return the stages of a Dockerfile, as :func:`parse_images` reads it; () if another frontend reads it."""
    lines = _list_lines(text)
    syntax, escape = _read_directives(lines)
    if syntax and not _is_standard(syntax):
        return ()
    given = _list_platform_values(platform)
    values = given | {name: value for name, value in arguments.items() if name in given}
    stages: list[tuple[str, str, list[str]]] = []
    for instruction, rest in _list_instructions(lines, escape):
        if instruction == "ARG":
            if not stages:  # FROM sees only the ARGs before the first stage.
                values |= _read_arguments(rest, arguments, values, escape)
        elif instruction == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            base = _expand(words[0], values, escape) if words else ""
            stages.append((words[2].lower() if len(words) == 3 and words[1].lower() == "as" else "", base or "", []))
        elif stages:
            stages[-1][2].extend(_list_named(rest))
    return tuple(DockerfileStage(name=name, base=base, sources=tuple(sources)) for name, base, sources in stages)


def _list_lines(text: str) -> list[str]:
    """Return the lines as BuildKit sees them: without a byte order mark and a shebang line."""
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    return lines[1:] if lines[0].startswith("#!") else lines


def _read_directives(lines: list[str]) -> tuple[str, str]:
    """Return the frontend that the file requests, "" for none, and the escape character.

    Frontends may use other comments: ``//``, or the whole file is JSON (BuildKit 0.34.2,
    ``frontend/dockerfile/parser/directives.go``).
    """
    found: dict[str, str] = {}
    for mark in ("#", "//"):
        if "syntax" in found:
            break
        for line in lines:
            directive = _DIRECTIVE.fullmatch(line.removeprefix(mark).strip()) if line.startswith(mark) else None
            if directive is None or directive[1].lower() not in _DIRECTIVES:
                break
            found.setdefault(directive[1].lower(), directive[2])
    syntax = found.get("syntax", "") or _read_json_syntax("\n".join(lines))
    return syntax.partition(" ")[0], found.get("escape", "\\")[:1]


def _read_json_syntax(text: str) -> str:
    if not text.lstrip().startswith("{"):
        return ""

    try:
        document = parse_json(text)
    except ValueError:
        return ""
    syntax = document.get("syntax") if isinstance(document, dict) else None
    return syntax if isinstance(syntax, str) else ""


def _list_platform_values(platform: Platform) -> dict[str, str]:
    """Return the variables that BuildKit sets, as far as they may be part of an image's or a stage's name."""
    parts = {"PLATFORM": str(platform), "OS": platform.os, "ARCH": platform.architecture, "VARIANT": platform.variant}
    return {prefix + name: value for prefix in ("BUILD", "TARGET") for name, value in parts.items()}


def _read_arguments(rest: str, arguments: Mapping[str, str], values: Mapping[str, str], escape: str) -> dict[str, str]:
    """Return the variables that an ARG sets; those without a value stay unset."""
    made: dict[str, str] = {}
    for word in _WORD.findall(rest):
        name, equals, default = word.partition("=")
        if name in arguments:
            made[name] = arguments[name]
        elif equals and (value := _expand(default, {**values, **made}, escape)) is not None:
            made[name] = value
    return made


def _expand(word: str, values: Mapping[str, str], escape: str) -> str | None:
    """Return the word expanded, None if BuildKit rejects it."""
    try:
        return expand(word, values, escape=escape)
    except Unusable:
        return None


def _list_named(rest: str) -> list[str]:
    """Return the names in ``COPY --from`` and ``RUN --mount=from``. BuildKit expands no variables there."""
    named: list[str] = []
    for flag in takewhile(lambda word: word.startswith("--"), rest.split()):
        name, _, value = flag.replace('"', "").replace("'", "").partition("=")
        if name.lower() == "--from":
            named.append(value)
        elif name.lower() == "--mount":
            named += [part[5:] for part in value.split(",") if part[:5].lower() == "from="]
    return [name for name in named if name and "$" not in name]


def _list_instructions(lines: list[str], escape: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions that may name an image, continued lines joined, without their heredocs."""
    joined: list[str] = []
    ends: list[tuple[str, str]] = []
    last = _find_last_places(lines)
    for number, line in enumerate(lines):
        if ends:
            if _is_end(line, *ends[0]):
                del ends[0]
            continue
        if line.lstrip().startswith("#") or (joined and not line.strip()):
            continue
        joined.append(line if joined else line.lstrip())
        cut = joined[-1].rstrip(" \t")
        # Two escape characters mean one and continue nothing.
        if cut.endswith(escape) and not cut.endswith(escape * 2) and number + 1 < len(lines):
            joined[-1] = cut[:-1]
            continue
        if instruction := _INSTRUCTION.match("".join(joined)):
            yield instruction[1].upper(), instruction[2]
            if instruction[1].upper() in ("COPY", "ADD", "RUN"):
                # A false beginning must not hide the rest of the file.
                ends = [end for end in _HEREDOC.findall(instruction[2]) if last.get(end, -1) > number]
        joined = []


def _find_last_places(lines: list[str]) -> dict[tuple[str, str], int]:
    """Return the last line that could end a heredoc, by the heredoc's dash and name."""
    found: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines):
        found["", line] = found["-", line.lstrip("\t")] = number
    return found


def _is_end(line: str, dash: str, name: str) -> bool:
    return (line.lstrip("\t") if dash else line) == name


def _is_standard(frontend: str) -> bool:
    name = frontend.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return (path if colon and "/" not in tag else name) in _STANDARD_FRONTENDS
