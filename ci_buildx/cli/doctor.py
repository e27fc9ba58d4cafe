"""``kube-builder doctor``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.build import merge
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.errors import InputError
from ci_buildx.progress.text import inert, printable
from ci_buildx.settings import options
from ci_buildx.settings.assembly import builder_from, cluster_from

if TYPE_CHECKING:
    from ci_buildx.builder.checkup import Finding
    from ci_buildx.builder.rights import Mode
    from ci_buildx.job.doctor import Checkup

SUMMARY = (
    "Checks that a cluster has all that builds need: versions, rights verb by verb, PodSecurity, architectures, "
    "runtime handlers, user namespaces, storage classes, the reaper, registries, whether NetworkPolicies are enforced. "
    "It makes a builder and a few pods to see for itself, removes them, and prints the YAML that gives what is missing."
)
EXAMPLES = f"""\
examples:
  kube-builder doctor registry.example
  kube-builder doctor --namespace ci-builds --format json
  kube-builder doctor --no-probe          (only asks, and makes nothing)
  kube-builder doctor --roles jobs | kubectl apply -f -

exit code 1 also where something that builds need is missing

{EXIT_CODES}"""
_OPTIONS = ("kubeconfig", "kube-context", "namespace", "driver-opts", "buildkitd-config")
_FORMATS = ("table", "json")
_MISSING = 1


def main(argv: Sequence[str], around: World) -> int:
    """Look, and tell what was found; 1 where something that is needed is missing."""
    given = make_parser().read(argv)
    own = {name: given.pop(name, "") for name in ("format", "mode", "no-probe", "roles", "registries")}
    values, sources = merge(given, around.env)
    builder = builder_from(values, sources, around.env, around.cwd)
    if own["roles"]:
        around.stdout.write(roles(str(own["roles"]), builder.namespace))
        return 0
    shape = _one_of("--format", str(own["format"] or "table"), _FORMATS)
    registries = own["registries"] if isinstance(own["registries"], list) else []
    cluster = cluster_from(values, sources, around.env, around.cwd)
    from ci_buildx.job import doctor

    mode = choose_mode(str(own["mode"]), builder.namespace)
    wishes = doctor.Wishes(mode=mode, builder=builder, registries=tuple(registries), probe=not own["no-probe"])
    if shape == "table":
        around.stdout.write(_line("CHECK", "STATUS", "DETAIL"))
    found = doctor.run(cluster, wishes, env=around.env, tell=lambda each: _tell(each, shape, around))
    around.stdout.write(as_json(found) if shape == "json" else _summary(found))
    return 0 if found.healthy else _MISSING


def choose_mode(text: str, namespace: str) -> Mode:
    """Whose rights are checked: by name, or as the settings mean."""
    from ci_buildx.builder.rights import Mode

    if not text:
        return Mode.NAMESPACE if namespace else Mode.JOBS
    mode = Mode(_one_of("--mode", text, tuple(Mode)))
    if mode is Mode.NAMESPACE and not namespace:
        raise InputError("no namespace is named", source="--mode", fix="add --namespace NAME")
    return mode


def roles(mode: str, namespace: str) -> str:
    """The YAML of one mode, or of what goes beside it, for the cluster's administrator.

    An opt-out counts in ``namespace``, or for the accounts of jobs where none is named. InputError for other names.
    """
    from ci_buildx.builder import rolesheet, schedule
    from ci_buildx.builder.rights import Mode

    others: dict[str, Callable[[], str]] = {
        "unconfined": lambda: rolesheet.unconfined(namespace),
        "host-access": lambda: rolesheet.host_access(namespace),
        "confined-pods": rolesheet.confined_pods,
        "reaper-cronjob": schedule.sheet,
    }
    chosen = _one_of("--roles", mode, (*Mode, *others))
    if chosen in others:
        return others[chosen]()
    return rolesheet.sheet(Mode(chosen), namespace=namespace or rolesheet.EXAMPLE_NAMESPACE)


def make_parser() -> Parser:
    """The parser: registries, which cluster, what kind of builders."""
    parser = Parser("doctor", "[OPTIONS] [REGISTRY…]", SUMMARY, examples=EXAMPLES)
    parser.add_options([options.BY_NAME[name] for name in _OPTIONS])
    other = parser.add_argument_group("Other")
    help_of_registries = "a registry that builds use, HOST or HOST:PORT: is it reached from here and from a pod?"
    other.add_argument("registries", nargs="*", metavar="REGISTRY", help=help_of_registries)
    other.add_argument("--no-probe", dest="no-probe", action="store_true", help="make no builder and no pods")
    other.add_argument("--format", default=argparse.SUPPRESS, metavar="|".join(_FORMATS), help="table or json")
    help_of_mode = (
        "whose rights: jobs, namespace, reaper, listing or looking (default: jobs; namespace with --namespace)"
    )
    other.add_argument("--mode", default=argparse.SUPPRESS, metavar="MODE", help=help_of_mode)
    help_of_roles = (
        "only print the YAML of docs/rbac: namespace, jobs, reaper, reaper-cronjob, listing, looking, the opt-outs "
        "unconfined and host-access, or confined-pods"
    )
    other.add_argument("--roles", default=argparse.SUPPRESS, metavar="MODE", help=help_of_roles)
    parser.offer_help(other)
    return parser


def as_json(found: Checkup) -> str:
    """Everything, for programs."""
    findings = [
        {"check": each.topic, "subject": each.subject, "status": str(each.status), "detail": each.detail}
        for each in found.findings
    ]
    return json.dumps({"healthy": found.healthy, "findings": findings, "apply": found.apply}, indent=2) + "\n"


def _tell(finding: Finding, shape: str, around: World) -> None:
    """Each line as it is known: some take seconds."""
    if shape == "table":
        detail = f"{finding.subject}: {finding.detail}" if finding.subject else finding.detail
        around.stdout.write(_line(finding.topic, str(finding.status), detail))
        around.stdout.flush()


def _line(check: str, status: str, detail: str) -> str:
    return f"{check:<16} {status:<8} {printable(detail)}\n"


def _summary(found: Checkup) -> str:
    """What it comes to, and the cure."""
    from ci_buildx.builder.checkup import Status

    counted = Counter(finding.status for finding in found.findings)
    verdict = "Nothing that is needed is missing" if found.healthy else f"Missing: {counted[Status.MISSING]}"
    said = f"\n{verdict}. Warnings: {counted[Status.WARNING]}.\n"
    if not found.apply:
        return said
    return f"{said}\nWhat an administrator of the cluster can add, by kubectl apply -f of:\n\n{inert(found.apply)}"


def _one_of(source: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise InputError(f"unknown value {text!r}", source=source, fix=f"write one of {', '.join(choices)}")
    return text
