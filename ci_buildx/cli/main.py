"""The entry point: finds the verb, imports only its module, and reports the error if it fails."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import takewhile
from types import ModuleType
from typing import NoReturn

from ci_buildx.cli import process
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model import debug
from ci_buildx.model.record import replace
from ci_buildx.settings.option import DEBUG
from ci_buildx.settings.syntax import require_boolean

VERBS = {
    "build": "build an image on the cluster",
    "bake": "build the targets of a definition",
    "create": "create a lasting builder, or change its nodes",
    "use": "select the current builder",
    "ls": "list the builders in the cluster",
    "inspect": "show one builder",
    "stop": "stop a builder; the next build restarts it",
    "scale": "change a builder's number of pods",
    "top": "show the load of a builder: running and waiting builds, caches",
    "exec": "run a command with a socket that reaches a builder",
    "dial-stdio": "connect standard input and output with a builder",
    "logs": "show buildkitd's log in each pod of a builder",
    "du": "show the records of a builder's cache, with sizes",
    "prune": "clear a builder's cache",
    "history ls": "list the builds that ran on a builder",
    "history inspect": "show one of them",
    "history inspect attachment": "write its provenance, SBOM or manifest",
    "history logs": "show its log",
    "history open": "write its timeline as a page",
    "history trace": "print its OpenTelemetry trace",
    "history export": "write builds into a .dockerbuild file",
    "history rm": "remove builds from the history",
    "rm": "remove builders",
    "merge": "merge images that several jobs pushed by digest",
    "imagetools create": "make an image from existing ones, or copy one",
    "imagetools inspect": "show an image in a registry",
    "replay build": "build an image again from its provenance",
    "replay snapshot": "store the sources of an image's build",
    "replay verify": "build an image again and compare the result",
    "reap": "delete leftovers of killed jobs from the cluster",
    "doctor": "check that a cluster meets the requirements of builds",
    "github": "the GitHub Action's entry point",
    "gitlab": "the GitLab template's entry point",
    "migrate": "convert GitHub workflows and GitLab pipelines that build with docker",
    "version": "show the version",
}
"""Verbs of one word or more, such as ``ls`` and ``imagetools inspect``, with what ``--help`` writes beside them."""
ALIASES = {"action": "github", "ci": "gitlab", "b": "build", "f": "bake"}
"""Other names of verbs, which scripts may use: earlier ones, and docker's."""
_LOG = debug.get_log("cli")
_UNDERSCORES = str.maketrans(" -", "__")
_GARBAGE = 200_000
"""New objects before the garbage collector looks for cycles: more than all imports create (Python's default: 700)."""
_HELP_WORDS = ("-h", "--help", "help")
_EXAMPLES = """\
examples:
  kube-builder build --push -t registry.example/team/app:1 .
  kube-builder build --platform linux/amd64,linux/arm64 \\
    -t registry.example/team/app:1 --push .
  kube-builder build --help
"""


def run() -> NoReturn:
    """Run the verb of the process's arguments and end the process with its exit code.

    A cached build takes a fifth of a second. The garbage collector would spend a tenth of that on half-imported
    modules, and the interpreter's shutdown of grpcio another tenth. kube-builder needs neither.
    """
    gc.set_threshold(_GARBAGE)
    around = process.read_process()
    code = main(sys.argv[1:], around)
    for stream in (around.stdout, around.stderr):
        with suppress(OSError):
            stream.flush()
    close_folders()
    os._exit(code)


def close_folders() -> None:
    """Delete the temporary folders that threads which lost a race may still use."""
    if "ci_buildx.fsutil.scratch" in sys.modules:
        from ci_buildx.fsutil import scratch  # Waits for a thread that is still importing it.

        scratch.close()


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the verb and return the exit code; never raises an error."""
    begun = time.monotonic()
    around = replace(around, argv=argv)

    def start_log(wanted: bool | None, as_json: bool) -> None:
        if wanted if wanted is not None else is_debug_wanted(around.env):
            from ci_buildx.cli.debug import switch_on

            switch_on(around, argv, verb=find_verb(argv)[0], as_json=as_json)

    def work() -> int:
        from ci_buildx.runtime import signals

        try:
            with signals.raise_on_signals():
                code = dispatch_verb(argv, around)
        except SystemExit:  # argparse has printed the help.
            around.stdout.flush()
            raise
        around.stdout.flush()
        return code

    debug.offer(start_log)
    code = process.run_guarded(work, stderr=around.stderr, env=around.env, argv=argv)
    if _LOG.is_on:
        from ci_buildx.cli.debug import switch_off

        _LOG.debug("exit code %s after %.3f s", code, time.monotonic() - begun)
        switch_off()
    debug.offer(None)
    return code


def is_debug_wanted(env: Mapping[str, str]) -> bool:
    """Return whether a variable turns the debug log on: our own, else those of GitHub's and GitLab's debug modes.

    Raises InputError if our own variable is not a boolean.
    """
    variable = DEBUG.variable
    if text := env.get(variable, "").strip():
        return require_boolean(text, source=variable)
    on_github = env.get("GITHUB_ACTIONS") == "true" and env.get("RUNNER_DEBUG") == "1"
    return on_github or (env.get("GITLAB_CI") == "true" and env.get("CI_DEBUG_TRACE", "").lower() == "true")


def dispatch_verb(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the verb and return its exit code. Raises InputError for an unknown one."""
    verb, rest = find_verb(argv)
    if verb not in VERBS:
        around.stdout.write(format_help(verb))
        return 0
    return int(import_verb(verb).main(rest, around))


def find_verb(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the verb and its arguments. If help is requested before the verb ends, return the words until then.

    Raises InputError for an unknown word.
    """
    verb = ""
    early: list[str] = []
    rest = list(argv)
    while verb not in VERBS:
        # As in docker, --debug may precede each word; the verb's own parser reads it.
        options = list(takewhile(_is_debug, rest))
        early += options
        word, *rest = rest[len(options) :] or ["--help"]
        if word in _HELP_WORDS:
            return verb, []
        if not verb:
            if word == "--version":
                early.append("--format=text")
            word = "version" if word == "--version" else ALIASES.get(word, word)
        if word not in list_words(verb):
            from ci_buildx.settings.names import suggest_name

            kind = "option" if word.startswith("-") else "verb"
            raise InputError(f"unknown {kind} {word!r}", source=verb, fix=suggest_name(word, list_words(verb)))
        verb = f"{verb} {word}".lstrip()
    while rest and f"{verb} {rest[0]}" in VERBS:  # A verb may begin with the words of another.
        verb = f"{verb} {rest.pop(0)}"
    return verb, [*early, *rest]


def list_words(group: str = "") -> list[str]:
    """Return the words that may follow the words of ``group``; without a group, the first words of all verbs."""
    start = f"{group} ".lstrip()
    return list(dict.fromkeys(verb[len(start) :].partition(" ")[0] for verb in VERBS if verb.startswith(start)))


def import_verb(verb: str) -> ModuleType:
    """Import the verb's module, whose name has underscores in place of spaces and hyphens."""
    return import_module(f"ci_buildx.cli.{verb.translate(_UNDERSCORES)}")


def format_help(group: str = "") -> str:
    """Format the list of all verbs, or of a group's sub-verbs."""
    start = f"{group} ".lstrip()
    rows = {verb.removeprefix(start): summary for verb, summary in VERBS.items() if verb.startswith(start)}
    width = max(map(len, rows)) + 2
    verbs = "".join(f"  {verb:<{width}} {summary}\n" for verb, summary in rows.items())
    about = (
        f"Run kube-builder {group} VERB --help for the options of a verb."
        if group
        else "Builds container images for several architectures on Kubernetes with BuildKit."
    )
    examples = "" if group else f"{_EXAMPLES}\n"
    return f"usage: kube-builder {start}VERB [OPTIONS]\n\n{about}\n\nverbs:\n{verbs}\n{examples}{process.EXIT_CODES}"


def _is_debug(argument: str) -> bool:
    return argument.partition("=")[0] in DEBUG.flags
