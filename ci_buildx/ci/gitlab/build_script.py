"""A job's script that builds one image with kaniko or docker, as inputs of the template.

Reads the shell's words only; anything with a meaning of its own (substitutions, conditions, loops) is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from ci_buildx.model.record import dataclass, field

_SHELL = re.compile(
    r"`|\$\(|\$\{\w+[^\w}]|<<|\$(PWD|HOME|USER|RANDOM|\d|@|\*)\b|^\s*(if|for|while|case|export|set)\b", re.MULTILINE
)
_OWN_REGISTRY = re.compile(
    r"\$\{?CI_REGISTRY\b|\$\{?CI_REGISTRY_USER|gitlab-ci-token|\$\{?CI_JOB_TOKEN|registry\.gitlab\.com"
)
_OTHER_REGISTRY = re.compile(
    r"(?i)docker[-_]?hub|index\.docker\.io|\$\{?(?!CI_)\w*(REGISTRY|USER|TOKEN|PASS)\w*|amazonaws|ghcr\.io|quay\.io"
)
_VARIABLE = re.compile(r"\$\w+|\$\{\w+\}")
_IDLE = (
    *("docker info", "docker version", "docker logout", "docker images", "docker context", "docker ps"),
    *("docker buildx create", "docker buildx inspect", "docker buildx use", "docker buildx ls", "docker buildx rm"),
    *("docker buildx version", "docker run --rm --privileged", "docker run --privileged --rm", "docker system prune"),
    *("mkdir -p /kaniko/.docker", "mkdir -p ~/.docker", "docker image prune", "docker pull", "docker rmi", "echo"),
)
_KANIKO = {
    "context": "context",
    "c": "context",
    "dockerfile": "file",
    "f": "file",
    "destination": "tags",
    "d": "tags",
    "build-arg": "build-args",
    "target": "target",
    "label": "labels",
    "custom-platform": "platforms",
    "customPlatform": "platforms",
}
_KANIKO_SWITCHES = frozenset(
    (
        "cleanup",
        "no-push",
        "force",
        "single-snapshot",
        "use-new-run",
        "cache",
        "compressed-caching",
        "cache-copy-layers",
    )
)
_KANIKO_IDLE = frozenset(
    ("cleanup", "force", "single-snapshot", "use-new-run", "compressed-caching", "cache-copy-layers", "snapshot-mode")
) | frozenset(
    ("snapshotMode", "verbosity", "v", "cache-ttl", "log-format", "push-retry", "image-fs-extract-retry", "cache-dir")
)
_DOCKER = {
    "t": "tags",
    "tag": "tags",
    "f": "file",
    "file": "file",
    "build-arg": "build-args",
    "target": "target",
    "label": "labels",
    "platform": "platforms",
    "cache-from": "cache-from",
    "cache-to": "cache-to",
    "secret": "secrets",
    "ssh": "ssh",
    "network": "network",
    "provenance": "provenance",
    "sbom": "sbom",
    "output": "outputs",
    "o": "outputs",
    "build-context": "build-contexts",
    "add-host": "add-hosts",
    "shm-size": "shm-size",
    "annotation": "annotations",
}
_DOCKER_SWITCHES = frozenset(("pull", "no-cache", "push", "load", "rm", "force-rm", "quiet", "q"))
_DOCKER_IDLE = frozenset(("rm", "force-rm", "quiet", "q", "progress", "builder"))


class UnreadableScript(Exception):
    """A script that is more than one build; the text is the reason."""


@dataclass(slots=True, kw_only=True)
class BuildScript:
    """Inputs of the one build of a script, and remarks on commands that are gone.

    ``login`` has the variables for a registry that is not GitLab's own.
    """

    inputs: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    builds: int = 0
    pushed: list[str] = field(default_factory=list)
    tagged: dict[str, str] = field(default_factory=dict)
    kaniko: bool = False
    login: dict[str, str] = field(default_factory=dict)


def read_script(commands: Iterable[str]) -> BuildScript:
    """Read the commands of a job. Raises UnreadableScript."""
    script = BuildScript()
    for text in commands:
        for words in _split_commands(text):
            _read_command(script, words)
    if script.builds != 1:
        raise UnreadableScript(
            f"its script has {script.builds} builds" if script.builds else "its script builds nothing"
        )
    _settle_tags(script)
    return script


def is_idle(commands: Iterable[str]) -> bool:
    """Return whether commands only prepare docker or kaniko."""
    script = BuildScript()
    try:
        for text in commands:
            for words in _split_commands(text):
                _read_command(script, words)
    except UnreadableScript:
        return False
    return script.builds == 0 and not script.pushed


def _split_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command. Raises UnreadableScript for what needs a shell."""
    joined = re.sub(r"\\\s*\n", " ", text)
    for line in joined.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        if _is_login_file(line):
            continue
        if found := _SHELL.search(line):
            raise UnreadableScript(f"its script needs a shell: {found[0].strip()}")
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>()")
            lexer.commenters = ""
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError as error:
            raise UnreadableScript("its script has unbalanced quotes") from error
        yield from _split_words(words)


def _is_login_file(line: str) -> bool:
    """Return whether a line writes the login to GitLab's own registry to docker's configuration."""
    if not re.search(r">\s*\"?(/kaniko|~|\$HOME|\$\{?DOCKER_CONFIG\}?)/?[\w./]*config\.json\"?\s*$", line):
        return False
    if _OTHER_REGISTRY.search(line) or not _OWN_REGISTRY.search(line):
        raise UnreadableScript("it logs in to another registry than GitLab's")
    return True


def _split_words(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in words:
        if word in ("&&", ";"):
            yield command
            command = []
        else:
            command.append(word)
    if command:
        yield command


def _read_command(script: BuildScript, words: list[str]) -> None:
    text = " ".join(words)
    if words[-2:] in (["||", "true"], ["||", ":"]):
        words = words[:-2]
    if "login" in words and "docker" in words:
        _read_login(script, words, text)
        return
    if any(set(word) <= set(";&|<>()") for word in words):
        raise UnreadableScript("its script has pipes or redirections")
    if not words or text.startswith(_IDLE):
        if words and text.startswith(("docker pull", "docker run", "docker rmi")):
            script.remarks.append(f"{' '.join(words[:2])} is removed")
    elif words[0].endswith("executor"):
        script.kaniko = True
        _read_kaniko(script, words[1:])
    elif words[:2] == ["docker", "build"] or words[:3] in (["docker", "buildx", "build"], ["docker", "image", "build"]):
        _read_docker(script, words[2 if words[1] == "build" else 3 :])
    elif words[:2] == ["docker", "push"] and len(words) == 3:
        script.pushed.append(words[2])
    elif words[:2] == ["docker", "tag"] and len(words) == 4:
        script.tagged[words[3]] = words[2]
    else:
        raise UnreadableScript(f"its script has other commands: {words[0]}")


def _read_login(script: BuildScript, words: list[str], text: str) -> None:
    """Read ``docker login``. GitLab's own registry needs no login; another one becomes variables of the job."""
    if _OWN_REGISTRY.search(text) and not _OTHER_REGISTRY.search(text):
        return
    at = words.index("docker")
    options = dict(_list_options(words[at + 2 :], frozenset(("password-stdin",))))
    password = options.get("p") or options.get("password") or ""
    if "password-stdin" in options and words[:1] == ["echo"] and words[at - 1] == "|":
        password = words[at - 2]
    user = options.get("u") or options.get("username") or ""
    if not user or not _VARIABLE.fullmatch(password) or script.login:
        raise UnreadableScript("it logs in to another registry than GitLab's")
    script.login = {"KUBE_BUILDER_USERNAME": user, "KUBE_BUILDER_PASSWORD": password}
    if options.get(""):
        script.login = {"KUBE_BUILDER_REGISTRY": options[""], **script.login}


def _list_options(words: list[str], switches: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield options with their values; an argument has an empty name."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "", word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if equals or name in switches:
            yield name, value if equals else "true"
        else:
            yield name, next(rest, "")


def _read_kaniko(script: BuildScript, words: list[str]) -> None:
    script.builds += 1
    cache, repository, push = False, "", True
    for name, value in _list_options(words, _KANIKO_SWITCHES):
        if name in _KANIKO:
            _add_input(script, _KANIKO[name], value)
        elif name == "cache":
            cache = value == "true"
        elif name == "cache-repo":
            repository = value
        elif name == "no-push":
            push = value != "true"
        elif name in _KANIKO_IDLE:
            script.remarks.append(f"--{name} is removed")
        else:
            raise UnreadableScript(f"kaniko's option --{name} has no input" if name else "kaniko has an argument")
    tags = script.inputs.get("tags", [])
    if cache and (repository or tags):
        ref = repository or f"{_drop_tag(tags[0])}/cache"
        script.inputs["cache-from"] = [f"type=registry,ref={ref}:buildkit"]
        script.inputs["cache-to"] = [f"type=registry,ref={ref}:buildkit,mode=max"]
        script.remarks.append(f"kaniko's cache is BuildKit's, in {ref}:buildkit")
    if push and tags:
        script.pushed += tags


def _read_docker(script: BuildScript, words: list[str]) -> None:
    script.builds += 1
    for name, value in _list_options(words, _DOCKER_SWITCHES):
        if not name:
            _add_input(script, "context", value)
        elif name in _DOCKER:
            _add_input(script, _DOCKER[name], value)
        elif name in _DOCKER_SWITCHES - _DOCKER_IDLE:
            script.inputs[name] = [value]
        elif name not in _DOCKER_IDLE:
            raise UnreadableScript(f"docker's option --{name} has no input")
    if script.inputs.get("context") == ["-"]:
        raise UnreadableScript("its Dockerfile comes from standard input")


def _add_input(script: BuildScript, name: str, value: str) -> None:
    if name in ("context", "file"):
        value = re.sub(r"^(dir://)?\$\{?CI_PROJECT_DIR\}?/?", "", value).removesuffix("/") or "."
    script.inputs.setdefault(name, []).append(value)


def _settle_tags(script: BuildScript) -> None:
    """Reduce the tags to those that are pushed, and set ``push``."""
    built = script.inputs.get("tags", [])
    if script.inputs.get("push") == ["true"]:
        if script.pushed:
            raise UnreadableScript("its script pushes twice")
        return
    if not script.pushed:
        return
    known = {_complete_tag(tag) for tag in built}
    for tag in script.pushed:
        source = script.tagged.get(tag, tag)
        if _complete_tag(source) not in known:
            raise UnreadableScript(f"it pushes {tag}, which its build does not name")
    if script.kaniko is False and (unused := [tag for tag in built if tag not in script.pushed]):
        script.remarks.append(f"tag {', '.join(unused)} is removed: it is not pushed")
    script.inputs["tags"] = list(dict.fromkeys(script.pushed))
    script.inputs["push"] = ["true"]


def _drop_tag(tag: str) -> str:
    head, colon, tail = tag.rpartition(":")
    return head if colon and "/" not in tail else tag


def _complete_tag(tag: str) -> str:
    return tag if _drop_tag(tag) != tag else f"{tag}:latest"
