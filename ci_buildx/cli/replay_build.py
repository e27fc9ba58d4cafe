"""``kube-builder replay build``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ci_buildx.cli import formatting, registries, replay
from ci_buildx.cli.build import check_stdout, print_result
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.masker import mask_value
from ci_buildx.replay.checks import ReplayMode
from ci_buildx.replay.plan import format_plan, make_build_plan
from ci_buildx.settings import options
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Builds an image again from its provenance. Every source must have the content that the provenance records. "
    "Secrets and SSH agents must be set again. Provenance of mode max is required, and a context in a git repository "
    "or at a URL."
)
EXAMPLES = f"""\
examples:
  show what would be built
    kube-builder replay build --dry-run registry.example/team/app:1
  build it into a file
    kube-builder replay build registry.example/team/app:1 -o type=oci,dest=app.tar
  only one platform, with a secret
    kube-builder replay build --platform linux/arm64 --secret id=token,env=TOKEN \\
      registry.example/team/app:1

{EXIT_CODES}"""
_VERB = "replay build"
OPTIONS = (
    *replay.SHARED,
    Option(
        name="replay-mode",
        flags=("--replay-mode",),
        kind=OptionKind.CHOICE,
        choices=tuple(ReplayMode),
        default=ReplayMode.MATERIALS,
        group=OptionGroup.CACHE,
        help="materials requires the recorded content of each source; frontend resolves sources again",
    ),
    *(options.BY_NAME[name] for name in ("outputs", "tags", "load", "push", "metadata-file")),
    Option(
        name="dry-run",
        flags=("--dry-run",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.RESULT,
        help="print what would be built, after the same checks",
    ),
    Option(
        name="format",
        flags=("--format",),
        kind=OptionKind.CHOICE,
        choices=("pretty", "json"),
        default="pretty",
        group=OptionGroup.DISPLAY,
        help="output format of --dry-run",
    ),
    *replay.BUILDING,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Build the image again, or print the plan."""
    answers = ParsedArguments(make_parser().read(argv))
    mode = ReplayMode(answers.read_choice("replay-mode", tuple(ReplayMode)))
    kind = answers.read_choice("format", ("pretty", "json"))
    is_dry = answers.switch("dry-run")
    if "format" in answers.values and not is_dry:
        raise InputError("requires --dry-run", source="--format", fix="add it, or omit --format")
    replay.read_materials(answers, around, verb=_VERB)
    with registries.open_client(answers, around) as client:
        subject = replay.load_only(answers, around, client, verb=_VERB)
        request = replay.make_request(subject, answers, around, mode=mode)
    settings = replay.read_settings(request, answers, around, OPTIONS)
    if is_dry:
        plan = mask_value(make_build_plan(request.subject, request.predicate, settings.build), around.list_secrets())
        text = f"{json.dumps(plan, indent=2)}\n" if kind == "json" else formatting.align_columns(format_plan(plan))
        around.stdout.write(text)
        return 0
    check_stdout(settings, around)
    from ci_buildx.build import run

    result = run.run_build(settings, env=around.env, display_stream=around.stderr)
    print_result(result, settings, stdout=around.stdout, stderr=around.stderr)
    return result.status


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    return replay.make_parser(_VERB, SUMMARY, EXAMPLES, OPTIONS)
