"""``kube-builder history inspect``."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ci_buildx.cli import formatting
from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import (
    format_local_time,
    make_template_option,
    offer_refs,
    open_builder_history,
    read_only_ref,
)
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.gotemplate.encoding import encode
from ci_buildx.gotemplate.functions import make_json_function
from ci_buildx.gotemplate.kinds import GoValue
from ci_buildx.gotemplate.template import GoTemplate
from ci_buildx.history.attachments import read_materials
from ci_buildx.history.inspection import COUNTS, RecordInspection
from ci_buildx.history.records import PlacedRecord, format_duration
from ci_buildx.progress.step import drop_controls

SUMMARY = (
    "Shows a build of a builder: source, options, duration, steps, materials, attachments and, if it failed, the error "
    "with the Dockerfile's lines and the last output. Values of build arguments and labels with a secret's name are "
    "masked."
)
EXAMPLES = f"""\
examples:
  kube-builder history inspect --builder kube
  kube-builder history inspect ^1
  kube-builder history inspect --format '{{{{.Status}}}} {{{{.Duration}}}}' qu2gsuo8ejqrwdfii23xkkckt

{EXIT_CODES}"""
OPTIONS = (
    make_template_option("pretty", "pretty, json, or a Go template with the fields of the JSON"),
    *SHARED,
)
_CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)
"""Go's names of gRPC's status codes, by number."""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the build, as buildx 0.38.2 does (``commands/history/inspect.go``)."""
    answers = ParsedArguments(make_parser().read(argv))
    kind = answers.read_text("format") or "pretty"
    template = None
    if kind not in ("pretty", "json"):
        template = GoTemplate(kind, {"json": make_json_function()}, source="--format")
    choice = read_only_ref(answers)
    with open_builder_history(answers, around) as history:
        placed = history.choose(choice)
        attachments = history.list_attachments(placed)
        value = RecordInspection(
            placed,
            attachments=attachments,
            materials=read_materials(attachments, history.find_pod(placed)),
            failure=history.read_failure(placed),
            show_time=format_local_time,
            cwd=str(around.cwd),
        ).make_value()
    if kind == "json":
        around.stdout.write(f"{encode(value, indent='  ')}\n")
    elif template is not None:
        around.stdout.write(f"{drop_controls(template.execute(value))}\n")
    else:
        around.stdout.write(format_inspection(value, placed, show_ref=not choice.ref))
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history inspect", "[OPTIONS] [REF]", SUMMARY, examples=EXAMPLES)
    offer_refs(parser)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def format_inspection(value: GoValue, placed: PlacedRecord, *, show_ref: bool) -> str:
    """Format a build as text. Control characters of what buildkitd sent are removed."""
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(placed.created // 1_000_000_000))
    parts = _list_parts(value.data, placed, show_ref=show_ref, started=started)
    return "".join(drop_controls(one) if isinstance(one, str) else formatting.align_with_tabs(one) for one in parts)


def _list_parts(
    data: Mapping[str, Any], placed: PlacedRecord, *, show_ref: bool, started: str
) -> Iterator[str | list[list[str]]]:
    """Yield tables, whose columns are to be aligned, and text."""
    yield _list_lines(
        ("Name", data["Name"]),
        ("Ref", data["Ref"] if show_ref else ""),
        ("Context", data["Context"]),
        ("Dockerfile", data["Dockerfile"]),
        ("VCS Repository", data.get("VCSRepository", "")),
        ("VCS Revision", data.get("VCSRevision", "")),
        ("Target", data["Target"]),
        ("Platforms", ", ".join(data["Platform"])),
        ("Keep Git Dir", "true" if data["KeepGitDir"] else ""),
    )
    yield "\n"
    yield from _format_pairs("NAMED CONTEXT", data["NamedContexts"])
    yield _list_lines(*_list_state(data, placed, started))
    yield "\n"
    yield _list_lines(*_list_config(data["Config"]))
    yield "\n"
    yield from _format_pairs("BUILD ARG", data["BuildArgs"])
    yield from _format_pairs("LABEL", data["Labels"])
    if data["Materials"]:
        yield "Materials:\n"
        yield [["URI", "DIGEST"], *([one["URI"], ", ".join(one["Digests"])] for one in data["Materials"])]
        yield "\n"
    if data["Attachments"]:
        yield "Attachments:\n"
        rows = [[one["Digest"], one["Platform"], one["Type"]] for one in data["Attachments"]]
        yield [["DIGEST", "PLATFORM", "TYPE"], *rows]
        yield "\n"
    if data["Error"]:
        yield from _format_error(data["Error"])
    yield f"Print build logs: kube-builder history logs {data['Ref']}\n"


def _list_lines(*pairs: tuple[str, str]) -> list[list[str]]:
    return [[f"{name}:", value] for name, value in pairs if value]


def _list_state(data: Mapping[str, Any], placed: PlacedRecord, started: str) -> Iterator[tuple[str, str]]:
    running = " (running)" if data["Status"] == "running" else ""
    yield "Started", started
    yield "Duration", f"{format_duration(placed.duration or 0)}{running}"
    if data["Status"] == "failed":
        yield "Error", f"{_name_code(data['Error']['Code'])} {data['Error']['Message']}"
    elif data["Status"] == "canceled":
        yield "Status", "Canceled"
    done, total, cached = (data[name] for name in COUNTS)
    yield "Build Steps", f"{done}/{total} ({f'{cached / total * 100:.0f}' if total else 'NaN'}% cached)"


def _list_config(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    titles = {
        "Network": "Network",
        "Hostname": "Hostname",
        "ExtraHosts": "Extra Hosts",
        "CgroupParent": "Cgroup Parent",
        "ImageResolveMode": "Image Resolve Mode",
        "MultiPlatform": "Multi-Platform",
        "NoCache": "No Cache",
        "NoCacheFilter": "No Cache Filter",
        "ShmSize": "Shm Size",
        "Ulimit": "Resource Limits",
        "Memory": "Memory",
        "MemorySwap": "Memory Swap",
        "CPUShares": "CPU Shares",
        "CPUPeriod": "CPU Period",
        "CPUQuota": "CPU Quota",
        "CPUSetCPUs": "CPUSet CPUs",
        "CPUSetMems": "CPUSet Mems",
        "CacheMountNS": "Cache Mount Namespace",
        "DockerfileCheckConfig": "Dockerfile Check Config",
        "SourceDateEpoch": "Source Date Epoch",
        "SandboxHostname": "Sandbox Hostname",
    }
    for name, title in titles.items():
        value = config[name]
        if isinstance(value, list):
            value = ", ".join(value)
        elif isinstance(value, bool):
            value = "true" if value else ""
        yield title, _format_memory(value) if name in ("Memory", "MemorySwap") else value
    for pair in config["RestRaw"]:
        yield pair["Name"], pair["Value"]


def _format_pairs(title: str, pairs: Sequence[Mapping[str, str]]) -> Iterator[str | list[list[str]]]:
    if pairs:
        yield [[title, "VALUE"], *([one["Name"], one["Value"]] for one in pairs)]
        yield "\n"


def _format_error(error: Mapping[str, Any]) -> Iterator[str]:
    if error["Sources"]:
        yield base64.b64decode(error["Sources"]).decode()
    if error["Logs"]:
        yield f"Logs:\n> => {error['Name']}:\n"
        yield from (f"> {line}\n" for line in error["Logs"])
        yield "\n"


def _name_code(number: int) -> str:
    return _CODES[number] if 0 <= number < len(_CODES) else f"Code({number})"


def _format_memory(text: str) -> str:
    """Format bytes as docker does; -1 for unlimited swap, and anything that is not a number, stays as it is."""
    return formatting.format_binary_size(int(text)) if text.isascii() and text.isdecimal() else text
