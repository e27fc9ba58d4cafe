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
from typing import NoReturn

from ci_buildx.cli import process
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model import debug
from ci_buildx.settings.option import DEBUG
from ci_buildx.settings.syntax import read_boolean

VERBS = {
    "build": "build an image on the cluster",
    "create": "create a lasting builder, or change its nodes",
    "use": "select the default builder",
    "ls": "list the builders in the cluster",
    "inspect": "show one builder",
    "stop": "stop a builder; the next build restarts it",
    "scale": "change a builder's number of pods",
    "logs": "show the logs of a builder's daemons",
    "du": "show the contents of a builder's cache",
    "prune": "clear a builder's cache",
    "rm": "remove builders",
    "reap": "delete leftovers of expired jobs from the cluster",
    "doctor": "check that a cluster meets the requirements of builds",
    "action": "the GitHub Action's entry point",
    "ci": "the GitLab template's entry point",
    "migrate": "convert a GitHub workflow's steps that use docker's actions",
    "version": "show the version",
}
_LOG = debug.get_log("cli")
_GARBAGE = 200_000
"""New objects before the garbage collector looks for cycles: more than all imports create (Python's default: 700)."""
HELP = f"""\
usage: kube-builder VERB [OPTIONS]

Builds container images for several architectures on Kubernetes with BuildKit.

verbs:
{"".join(f"  {verb:<9} {summary}{chr(10)}" for verb, summary in VERBS.items())}
examples:
  kube-builder build --push -t registry.example/team/app:1 .
  kube-builder build --platform linux/amd64,linux/arm64 -t registry.example/team/app:1 --push .
  kube-builder build --help

{process.EXIT_CODES}"""


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
    scratch = sys.modules.get("ci_buildx.fsutil.scratch")
    if scratch is not None:  # Threads that lost a race may still use its folders.
        scratch.close()
    os._exit(code)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the verb and return the exit code; never raises an error."""
    begun = time.monotonic()

    def start_log(wanted: bool | None, as_json: bool) -> None:
        if wanted if wanted is not None else is_debug_wanted(around.env):
            from ci_buildx.cli.debug import switch_on

            switch_on(around, argv, as_json=as_json)

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
        wanted = read_boolean(text)
        if wanted is None:
            raise InputError(f"{text!r} is neither true nor false", source=variable, fix="write true or false")
        return wanted
    on_github = env.get("GITHUB_ACTIONS") == "true" and env.get("RUNNER_DEBUG") == "1"
    return on_github or (env.get("GITLAB_CI") == "true" and env.get("CI_DEBUG_TRACE", "").lower() == "true")


def dispatch_verb(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the verb and return its exit code. Raises InputError for an unknown one."""
    # As in docker, --debug may precede the verb; the verb's own parser reads it.
    early = len(list(takewhile(_is_debug, argv)))
    verb, *rest = argv[early:] or ("--help",)
    rest = [*argv[:early], *rest]
    if verb in ("-h", "--help", "help"):
        around.stdout.write(HELP)
        return 0
    if verb == "--version":
        verb = "version"
    if verb not in VERBS:
        from ci_buildx.settings.names import suggest_name

        kind = "option" if verb.startswith("-") else "verb"
        raise InputError(f"unknown {kind} {verb!r}", fix=suggest_name(verb, VERBS))
    return int(import_module(f"ci_buildx.cli.{verb}").main(rest, around))


def _is_debug(argument: str) -> bool:
    return argument.partition("=")[0] in DEBUG.flags
