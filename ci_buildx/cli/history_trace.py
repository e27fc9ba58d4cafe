"""``kube-builder history trace``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import offer_refs, open_builder_history, read_only_ref
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.history import traces
from ci_buildx.history.inspection import list_secrets
from ci_buildx.model.masker import mask_value
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Prints the trace of a finished build: BuildKit's own spans, as JSON that Jaeger's user interface imports, or as "
    "OTLP. No user interface is started."
)
EXAMPLES = f"""\
examples:
  kube-builder history trace --builder kube > trace.json
  kube-builder history trace --format otlp ^1 \\
    | curl -H 'Content-Type: application/json' \\
      --data-binary @- http://collector.example:4318/v1/traces

{EXIT_CODES}"""
REFUSED = {
    "--addr": "no user interface is started; import the output into Jaeger's (Search, JSON File)",
    "--compare": "print both traces and import them into Jaeger's user interface",
}
_KINDS = ("jaeger", "otlp")
OPTIONS = (
    Option(
        name="format",
        flags=("--format",),
        kind=OptionKind.CHOICE,
        choices=_KINDS,
        default=_KINDS[0],
        group=OptionGroup.DISPLAY,
        help="jaeger is docker buildx's output, otlp the body of a request to a collector",
    ),
    *SHARED,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the trace, as buildx 0.38.2 does where standard output is no terminal (``commands/history/trace.go``)."""
    answers = ParsedArguments(make_parser().read(argv))
    kind = answers.read_choice("format", _KINDS)
    choice = read_only_ref(answers)
    with open_builder_history(answers, around) as history:
        placed = history.choose(choice, finished=True)
        body = history.read_trace(placed)
    document = traces.make_jaeger_document(body) if kind == "jaeger" else traces.make_otlp_document(body)
    shown = mask_value(document, list_secrets(placed))
    around.stdout.write(f"{json.dumps(shown, indent=2 if kind == 'jaeger' else None, ensure_ascii=False)}\n")
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history trace", "[OPTIONS] [REF]", SUMMARY, examples=EXAMPLES, refused=REFUSED)
    offer_refs(parser)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
