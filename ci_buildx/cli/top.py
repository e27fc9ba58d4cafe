"""``kube-builder top``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import formatting, target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.history import records

if TYPE_CHECKING:
    from ci_buildx.manage.top import BuilderLoad, PodActivity

SUMMARY = (
    "Shows the load of a lasting builder once: of each pod the running builds, the taken slots, the size of its cache "
    "and the share of cached steps in its last 50 builds; and the builds that wait, with how long they have waited."
)
EXAMPLES = f"""\
examples:
  kube-builder top kube
  kube-builder top --builder kube --format json
  watch -n 5 kube-builder top kube

{EXIT_CODES}"""
OPTIONS = (
    target.TIMEOUT,
    target.BUILDER,
    target.make_format_option("table", "json"),
    target.NAMESPACE,
    *target.CLUSTER,
)
_PODS = ("NODE", "POD", "STATUS", "RUNNING", "SLOTS", "CACHE", "CACHED STEPS", "LAST BUILDS")
_RUNNING = ("RUNNING BUILD", "POD", "NAME", "DURATION", "STEPS")
_WAITING = ("WAITING", "NODE", "KEY", "FOR")
_UNKNOWN = "-"


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the load, and warn about pods that did not answer."""
    answers = ParsedArguments(make_parser().read(argv))
    kind = answers.read_choice("format", ("table", "json"))
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    from ci_buildx.manage.top import read_load

    found = read_load(wanted, env=around.env, timeout=timeout)
    if kind == "json":
        around.stdout.write(f"{json.dumps(describe_load(found))}\n")
        return 0
    around.stdout.write("\n".join(format_load(found)))
    for one in found.pods:
        if one.error:
            around.warn(f"{one.pod or one.node}: {one.error}")
    for note in found.notes:
        around.warn(note)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("top", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def format_load(found: BuilderLoad) -> Iterator[str]:
    """Yield the tables: pods, running builds, waiting builds."""
    yield formatting.format_table(_PODS, [_format_pod(one) for one in found.pods])
    running = [one for pod in found.pods for one in pod.running]
    if running:
        rows = [
            [one.ref, one.pod, one.name, _format_duration(one.duration), str(one.record.completed_steps)]
            for one in records.sort_records(running)
        ]
        yield formatting.format_table(_RUNNING, rows)
    if found.queue:
        rows = [[str(one.place), one.node, one.key, f"{one.seconds:.0f}s"] for one in found.queue]
        yield formatting.format_table(_WAITING, rows)


def _format_pod(one: PodActivity) -> list[str]:
    asked = not one.error and one.status == "running"
    slots = _UNKNOWN if one.taken is None else f"{one.taken}/{one.slots or 'any'}"
    rate = _UNKNOWN if one.hit_rate is None else f"{one.hit_rate:.0%}"
    shown = [str(len(one.running)), slots, formatting.format_size(one.cache), rate, str(one.builds)]
    return [one.node, one.pod, one.status.value, *(shown if asked else [_UNKNOWN] * len(shown))]


def _format_duration(nanoseconds: int | None) -> str:
    return _UNKNOWN if nanoseconds is None else records.format_duration(nanoseconds)


def describe_load(found: BuilderLoad) -> dict[str, Any]:
    """Return the load for JSON: sizes in bytes, durations in seconds."""
    return {
        "builder": found.name,
        "namespace": found.namespace,
        "pods": [_describe_pod(one) for one in found.pods],
        "queue": [
            {"node": one.node, "place": one.place, "key": one.key, "seconds": round(one.seconds, 1)}
            for one in found.queue
        ],
        "notes": list(found.notes),
    }


def _describe_pod(one: PodActivity) -> dict[str, Any]:
    return {
        "node": one.node,
        "pod": one.pod,
        "status": one.status.value,
        "running": [
            {
                "ref": build.ref,
                "name": build.name,
                "seconds": None if build.duration is None else round(build.duration / 1e9, 1),
                "completed_steps": build.record.completed_steps,
            }
            for build in one.running
        ],
        "taken_slots": one.taken,
        "slots": one.slots,
        "cache_bytes": one.cache,
        "builds": one.builds,
        "steps": one.steps,
        "cached_steps": one.cached,
        "hit_rate": None if one.hit_rate is None else round(one.hit_rate, 4),
        "error": one.error,
    }
