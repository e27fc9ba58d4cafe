"""``kube-builder exec``, and the settings of verbs that connect to a builder without a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli.build import add_current_builder, merge_variables
from ci_buildx.cli.parser import END_OF_OPTIONS, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.settings import options
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.names import check_builder
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.values import ProgressMode

if TYPE_CHECKING:
    from ci_buildx.settings.values import Settings

SUMMARY = (
    "Runs a command with BUILDKIT_HOST, a UNIX socket that reaches the builder, for buildctl, nerdctl, docker buildx "
    "with the remote driver and other clients of BuildKit. Without BUILDER, and if none is selected, a new builder "
    "exists as long as the command runs. The exit code is the command's."
)
EXAMPLES = f"""\
examples:
  buildctl on a builder
    kube-builder exec kube -- buildctl du
  a new builder for one build
    kube-builder exec --platform linux/arm64 -- \\
      buildctl build --frontend dockerfile.v0 --local context=. --local dockerfile=.

{EXIT_CODES}"""
_WRITE_COMMAND = "write it after --, as in: kube-builder exec kube -- buildctl du"
SHARED = tuple(
    options.BY_NAME[name]
    for name in (
        *("platforms", "driver-opts", "builder-config", "buildkitd-config", "buildkitd-flags", "builder", "lifetime"),
        *("queue-timeout", "transport", "namespace", "kubeconfig", "kube-context", "oidc", "progress"),
    )
)
_NAMES = frozenset(option.name for option in SHARED)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the command and return its exit code."""
    words = list(argv)
    at = words.index(END_OF_OPTIONS) if END_OF_OPTIONS in words else len(words)
    given = make_parser().read(words[:at], surplus_fix=_WRITE_COMMAND)
    command = words[at + 1 :]
    if not command:
        raise InputError("missing command", fix=_WRITE_COMMAND)
    settings = read_settings(given, around)
    from ci_buildx.manage import exposure

    return exposure.run_with_builder(
        settings,
        env=around.env,
        display_stream=around.stderr,
        work=lambda run: exposure.run_command(run, command, around.env),
    )


def read_settings(
    given: Mapping[str, Value], around: ProcessContext, *, progress: ProgressMode = ProgressMode.PLAIN
) -> Settings:
    """Return the settings of a verb with a positional builder; ``progress`` is the default. Raises InputError."""
    named = given.get("names")
    values, sources = merge_variables({name: value for name, value in given.items() if name in _NAMES}, around.env)
    values = {name: value for name, value in values.items() if name in _NAMES}
    if isinstance(named, str) and named:
        if "builder" in given:
            raise InputError("BUILDER and --builder are the same", source="--builder", fix="set only one")
        values["builder"], sources["builder"] = check_builder(named, source="BUILDER"), "BUILDER"
    values, sources = add_current_builder(values, sources, around)
    values = {"progress": progress.value, **values, "context": str(around.cwd), "file": "-"}
    return make_settings(values, sources, around.env, around.cwd)


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("exec", "[OPTIONS] [BUILDER] -- COMMAND [ARG…]", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    group.add_argument("names", nargs="?", metavar="BUILDER", help="the builder")
    parser.add_options(SHARED)
    parser.offer_help()
    return parser
